using BnService.Api.Errors;
using BnService.Api.Hosting.Limits;
using BnService.Api.Wire;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Hosting;

/// <summary>Clients that go away before they are answered: nobody is there to be told, and nothing is wrong with the service.</summary>
internal static class HangUp
{
    /// <summary>Whether a failure is what is left of a client that has gone.</summary>
    /// <param name="exception">The failure.</param>
    /// <param name="aborted">The end of the connection, or of the request's stream.</param>
    public static bool IsOne(Exception exception, CancellationToken aborted) => exception switch
    {
        ClientGoneException or ConnectionResetException or ConnectionAbortedException => true,
        // Reading a body says so before the connection's end is known.
        OperationCanceledException or IOException when exception.InnerException is ConnectionResetException or ConnectionAbortedException =>
            true,
        OperationCanceledException or IOException or ObjectDisposedException => aborted.IsCancellationRequested,
        _ => false,
    };

    /// <summary>Ends a request whose client has gone.</summary>
    public static void End(HttpContext context)
    {
        RequestContext.Of(context).IsHungUp = true;
        if (!context.Response.HasStarted)
        {
            // The server would miss the rest of an answer whose length has been said.
            context.Response.ContentLength = null;
            context.Response.StatusCode = StatusCodes.Status499ClientClosedRequest;
        }
        // It may not know yet that nobody is there, and would try to skip the rest of a body that cannot be read.
        context.Abort();
    }
}

/// <summary>
/// The rest of a body that was refused for want of room. Most clients send all of a request before they read: what they send is taken and
/// dropped, so that they come to read the answer; the server by itself would cut them off after some seconds, and they would see a broken
/// connection instead of when to come again. Nobody waits so for a stranger's body, and only for so many of one key as it may have
/// requests.
/// </summary>
internal static class UnreadBody
{
    // Longer than hundreds of large bodies take; who is slower is cut off as the server does it.
    private static readonly TimeSpan Most = TimeSpan.FromMinutes(2);

    /// <summary>Reads a body to its end, if its client is told to send it again.</summary>
    /// <param name="context">The request, which has been answered.</param>
    /// <param name="code">What it was answered.</param>
    public static async ValueTask SkipAsync(HttpContext context, ProblemCode code)
    {
        // Who waits for 100 Continue has sent nothing, and will not.
        if (!IsWorthIt(code) || context.Request.Headers.Expect.Count > 0 || !context.Response.HasStarted) return;
        var (places, caller) = (context.RequestServices.GetRequiredService<Places>(), RequestContext.Of(context).Caller);
        if (caller == Caller.Stranger || places.TryTake(Place.Refused, caller) is not null) return;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, caller.Ended);
        patience.CancelAfter(Most);
        try
        {
            await context.Response.CompleteAsync();
            var body = new BodyReader(context.Request.BodyReader);
            while (true)
            {
                var read = await body.ReadAsync(patience.Token);
                body.AdvanceTo(read.Buffer.End);
                if (read.IsCompleted) return;
            }
        }
        catch (Exception exception) when (exception
            is IOException or BadHttpRequestException or OperationCanceledException or InvalidOperationException or InvalidDataException)
        {
            // The client has read the answer and gone, or is too slow to be waited for.
        }
        finally
        {
            places.Leave(Place.Refused, caller);
        }
    }

    private static bool IsWorthIt(ProblemCode code) => code == ProblemCode.Overloaded || code == ProblemCode.TooManyRequests;
}
