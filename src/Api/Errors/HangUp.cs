using BnService.Api.Hosting;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Errors;

/// <summary>The client no longer reads its answer, which may be noticed before the connection's end is.</summary>
internal sealed class ClientGoneException() : OperationCanceledException("the client no longer reads the answer");

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
        OperationCanceledException or IOException when exception.InnerException is ConnectionResetException or ConnectionAbortedException => true,
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
