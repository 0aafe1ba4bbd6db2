using BnService.Api.Hosting.Limits;

namespace BnService.Api.Hosting.Memory;

/// <summary>
/// Large bodies that are on their way, for which memory is reserved. One that comes so slowly that it would hold the memory for long is given up
/// when others wait for room: a few slow clients would keep everybody else out.
/// </summary>
internal sealed class ArrivingBodies(TimeProvider time)
{
    // What has just begun may still come to its speed.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(2), Longest = TimeSpan.FromMinutes(1);

    // Where a body does not say how long it is: of what is reserved for it at least this part is itself.
    private const int PartOfBody = 4;

    private readonly Lock _lock = new();
    private readonly LinkedList<Body> _bodies = [];

    /// <summary>A body is on its way, until <see cref="Remove"/>.</summary>
    /// <param name="request">Its request.</param>
    /// <param name="deadline">Ends the request.</param>
    /// <param name="reserved">Bytes that are reserved for it.</param>
    public LinkedListNode<Body> Add(HttpRequest request, RequestDeadline deadline, long reserved)
    {
        var body = new Body(RequestMetering.Of(request.HttpContext), deadline, reserved, request.ContentLength ?? (reserved / PartOfBody), time.GetTimestamp());
        lock (_lock) return _bodies.AddLast(body);
    }

    /// <summary>A request is over.</summary>
    public void Remove(LinkedListNode<Body> body)
    {
        lock (_lock) _bodies.Remove(body);
    }

    /// <summary>Gives up slow bodies, those first that hold most, until so many bytes are free.</summary>
    public void MakeRoom(long bytes)
    {
        List<Body> slow;
        lock (_lock) slow = [.. _bodies.Where(IsSlow).OrderByDescending(body => body.Reserved)];
        foreach (var body in slow)
        {
            if (bytes <= 0) return;
            body.Deadline.GiveWay();
            bytes -= body.Reserved;
        }
    }

    private bool IsSlow(Body body)
    {
        var age = time.GetElapsedTime(body.Since);
        return age >= Grace && body.Metering.IsAwaitingBody
            && body.Metering.BodyBytes * Longest.TotalSeconds < body.Length * age.TotalSeconds;
    }

    /// <summary>A body that is on its way.</summary>
    /// <param name="Metering">Tells how much of it has come.</param>
    /// <param name="Deadline">Ends its request.</param>
    /// <param name="Reserved">Bytes that are reserved for it.</param>
    /// <param name="Length">Its length, at least.</param>
    /// <param name="Since">When the memory was reserved.</param>
    internal sealed record Body(RequestMetering Metering, RequestDeadline Deadline, long Reserved, long Length, long Since);
}
