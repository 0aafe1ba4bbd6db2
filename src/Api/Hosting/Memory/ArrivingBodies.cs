using BnService.Core.Tensors;

namespace BnService.Api.Hosting.Memory;

/// <summary>
/// Large bodies that are on their way, and hold memory. One that comes so slowly that it would hold the memory for long is given up
/// when others wait for room, or are refused: a few slow clients would keep everybody else out.
/// </summary>
internal sealed class ArrivingBodies(TimeProvider time)
{
    // What has just begun may still come to its speed.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(2), Longest = TimeSpan.FromMinutes(1);

    // Where a body does not say how long it is: of what is taken for it at least this part is itself.
    private const int PartOfBody = 4;

    private readonly Lock _lock = new();
    private readonly LinkedList<Body> _bodies = [];

    /// <summary>A body is on its way, until <see cref="Remove"/>.</summary>
    public LinkedListNode<Body> Add(RequestContext request, long? length, MemoryAccount account)
    {
        var body = new Body(request, length, account, time.GetTimestamp());
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
        List<(Body Body, long Taken)> slow;
        lock (_lock) slow = [.. _bodies.Select(body => (Body: body, body.Account.Taken)).Where(IsSlow).OrderByDescending(one => one.Taken)];
        foreach (var (body, taken) in slow)
        {
            if (bytes <= 0) return;
            body.Request.Deadline!.GiveWay();
            bytes -= taken;
        }
    }

    private bool IsSlow((Body Body, long Taken) one)
    {
        var (body, taken) = one;
        var (age, come) = (time.GetElapsedTime(body.Since), body.Request.BodyBytes);
        return age >= Grace && body.Request.IsAwaitingBody && taken > MemoryAdmission.SmallBytes
            && come * Longest.TotalSeconds < (body.Length ?? Math.Max(come, taken / PartOfBody)) * age.TotalSeconds;
    }

    /// <summary>A body that is on its way.</summary>
    /// <param name="Request">Tells how much of it has come, and can be ended.</param>
    /// <param name="Length">Its length, where it says it.</param>
    /// <param name="Account">What it holds.</param>
    /// <param name="Since">When it was found to be large.</param>
    internal sealed record Body(RequestContext Request, long? Length, MemoryAccount Account, long Since);
}
