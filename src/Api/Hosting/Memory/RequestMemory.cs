using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Hosting.Memory;

/// <summary>The memory of one request: its account, and the way to a reservation.</summary>
/// <param name="context">The request.</param>
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
    /// <param name="context">The request.</param>
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

    private ValueTask<IDisposable> HoldSharedAsync(object shared, long bytes) => admission.Shared.HoldAsync(shared, bytes, context.RequestAborted);

    /// <summary>Gives each request an account, which its buffers are charged to.</summary>
    /// <param name="context">The request.</param>
    /// <param name="next">Answers it.</param>
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
