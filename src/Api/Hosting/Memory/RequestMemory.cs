using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Hosting.Memory;

/// <summary>The memory of one request: its account, and the way to a reservation.</summary>
/// <param name="account">The account.</param>
/// <param name="admission">Lets it in.</param>
internal sealed class RequestMemory(HttpContext context, MemoryAccount account, MemoryAdmission admission)
{
    private LinkedListNode<ArrivingBodies.Body>? _arriving;

    /// <summary>Where a request's memory is kept.</summary>
    public static RequestMemory? Of(HttpContext context) => RequestContext.Of(context).Memory;

    /// <summary>Reserves what the request will need beside what it has rented.</summary>
    /// <exception cref="Errors.ProblemException">There is no room.</exception>
    public async ValueTask ReserveAsync(long bytes)
    {
        await admission.ReserveAsync(account, bytes, context.RequestAborted);
        if (bytes > MemoryAdmission.SmallBytes) Arrives();
    }

    /// <summary>Its body is large, and on its way.</summary>
    public void Arrives()
    {
        if (_arriving is null && RequestContext.Of(context) is { Deadline: not null } request)
            _arriving = admission.Arriving.Add(request, context.Request.ContentLength, account);
    }

    /// <summary>Counts the state that an answer is written from, until the request ends.</summary>
    /// <param name="state">The state.</param>
    /// <exception cref="Errors.ProblemException">There is no room.</exception>
    public static async ValueTask HoldAsync(HttpContext context, LayerState state)
    {
        var bytes = state.ArrayBytes;
        if (bytes <= MemoryAdmission.SmallBytes || Of(context) is not { } memory) return;
        context.Response.RegisterForDispose(await memory.HoldSharedAsync(state, bytes));
    }

    /// <summary>Lets go of what is reserved beyond so many bytes beside what is rented.</summary>
    public void Settle(long bytes) => account.Settle(bytes);

    /// <summary>Lets go of what is reserved beyond what is still needed.</summary>
    /// <param name="needed">That, given what is rented.</param>
    public void SettleFor(Func<long, long> needed) => account.Settle(needed(account.Rented));

    private ValueTask<IDisposable> HoldSharedAsync(object shared, long bytes) =>
        admission.Shared.HoldAsync(shared, bytes, context.RequestAborted);

    /// <summary>Gives each request an account, which its buffers are charged to.</summary>
    /// <param name="admission">Lets it in.</param>
    public static async Task CountAsync(HttpContext context, RequestDelegate next, MemoryAdmission admission)
    {
        using (var account = new MemoryAccount(admission.Budget))
        {
            MemoryAccount.Current = account;
            var memory = new RequestMemory(context, account, admission);
            RequestContext.Of(context).Memory = memory;
            try
            {
                await next(context);
            }
            finally
            {
                if (memory._arriving is { } body) admission.Arriving.Remove(body);
            }
        }
        // What the request has left behind may stand in the way of one that has come meanwhile.
        if (admission.Waiting > 0) admission.MakeRoom();
    }
}

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
