using BnService.Api.Hosting.Problems;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Limits;

/// <summary>Requests that are served at one time (Limits:MaxConcurrentRequests); the others are answered 503. Probes are always served.</summary>
internal sealed class ConcurrentRequests(IOptions<LimitOptions> limits)
{
    private readonly int _most = limits.Value.MaxConcurrentRequests;
    private int _count;
    private long _begun, _ended;

    /// <summary>Number of requests that have come so far.</summary>
    public long Begun => Interlocked.Read(ref _begun);

    /// <summary>Whether none is on its way, refused ones included.</summary>
    public bool IsIdle => Interlocked.Read(ref _ended) == Begun;

    /// <summary>Serves a request, or refuses it.</summary>
    public async Task ServeAsync(HttpContext context, RequestDelegate next)
    {
        if (RequestRate.IsHealth(context.Request.Path))
        {
            await next(context);
            return;
        }
        Interlocked.Increment(ref _begun);
        try
        {
            await ServeOrRefuseAsync(context, next);
        }
        finally
        {
            Interlocked.Increment(ref _ended);
        }
    }

    private async Task ServeOrRefuseAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
            if (Interlocked.Increment(ref _count) <= _most)
            {
                await next(context);
                return;
            }
        }
        finally
        {
            Interlocked.Decrement(ref _count);
        }
        // Not counted any more: a refused client may take long to come to its answer.
        await ProblemAnswers.RefuseAsync(context, ProblemCode.Overloaded, $"the service serves {_most} requests at one time (Limits:MaxConcurrentRequests), got one more");
    }
}
