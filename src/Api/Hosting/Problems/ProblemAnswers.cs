using System.Diagnostics;
using BnService.Api.Contracts;
using BnService.Api.Wire;
using BnService.Core;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Diagnostics;

namespace BnService.Api.Hosting.Problems;

/// <summary>Turns every failure into a problem answer: the only place that knows how one is written.</summary>
internal sealed partial class ProblemAnswers(ILogger<ProblemAnswers> logger) : IExceptionHandler
{
    /// <inheritdoc/>
    public async ValueTask<bool> TryHandleAsync(HttpContext context, Exception exception, CancellationToken cancellationToken)
    {
        if (exception is ConnectionResetException)
        {
            // The client is gone; reading may find that out before RequestAborted tells. Nobody is there for an answer.
            context.Response.StatusCode = StatusCodes.Status499ClientClosedRequest;
            return true;
        }
        var (code, detail) = exception switch
        {
            ProblemException problem => (problem.Code, problem.Message),
            LayerException layer => (ProblemException.CodeOf(layer.Error), layer.Message),
            BadHttpRequestException http => (CodeOf(http.StatusCode), http.Message),
            _ => (ProblemCode.InternalError, "an unexpected condition; the service's log has the cause under this trace_id"),
        };
        if (code == ProblemCode.InternalError) LogUnexpected(logger, exception);
        await WriteAsync(context, code, detail);
        return true;
    }

    /// <summary>Gives a body to the bodiless errors of routing: unknown path, wrong method.</summary>
    public static Task WriteStatusAsync(StatusCodeContext status)
    {
        var request = status.HttpContext.Request;
        var code = CodeOf(status.HttpContext.Response.StatusCode);
        var detail = code == ProblemCode.MethodNotAllowed
            ? $"{request.Method} is not allowed here; allowed: {status.HttpContext.Response.Headers.Allow}"
            : $"{request.Method} {request.Path} cannot be answered: {code.Title.ToLowerInvariant()}";
        return WriteAsync(status.HttpContext, code, detail);
    }

    private static async Task WriteAsync(HttpContext context, ProblemCode code, string detail)
    {
        context.Response.StatusCode = code.Status;
        if (code.Status == StatusCodes.Status503ServiceUnavailable) context.Response.Headers.RetryAfter = "1";
        // Kestrel ends the connection, whose unread body is too large to be skipped: a client must not send its next request on it.
        if (code == ProblemCode.PayloadTooLarge && !HttpProtocol.IsHttp2(context.Request.Protocol)) context.Response.Headers.Connection = "close";
        await context.Response.WriteAsJsonAsync(
            new Problem
            {
                Type = $"/problems/{code.Code}",
                Title = code.Title,
                Status = code.Status,
                Detail = detail,
                Code = code.Code,
                TraceId = Activity.Current?.TraceId.ToHexString() ?? context.TraceIdentifier,
            },
            ContractJson.Context.Problem,
            MediaTypes.ProblemJson,
            context.RequestAborted);
    }

    private static ProblemCode CodeOf(int status) => status switch
    {
        StatusCodes.Status404NotFound => ProblemCode.NotFound,
        StatusCodes.Status405MethodNotAllowed => ProblemCode.MethodNotAllowed,
        StatusCodes.Status406NotAcceptable => ProblemCode.NotAcceptable,
        StatusCodes.Status408RequestTimeout => ProblemCode.RequestTimeout,
        StatusCodes.Status413PayloadTooLarge => ProblemCode.PayloadTooLarge,
        StatusCodes.Status415UnsupportedMediaType => ProblemCode.UnsupportedMediaType,
        StatusCodes.Status503ServiceUnavailable => ProblemCode.Overloaded,
        >= 400 and < 500 => ProblemCode.BadRequest,
        _ => ProblemCode.InternalError,
    };

    [LoggerMessage(Level = LogLevel.Error, Message = "Unexpected failure")]
    private static partial void LogUnexpected(ILogger logger, Exception exception);
}
