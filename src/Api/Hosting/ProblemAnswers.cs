using System.Diagnostics;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Diagnostics;

namespace BnService.Api.Hosting;

/// <summary>
/// Turns every failure into an answer: the only place that knows how one is written. Under <c>/v2</c> the Open Inference Protocol
/// decides its form, elsewhere RFC 9457.
/// </summary>
internal sealed partial class ProblemAnswers(CallMeter calls, ILogger<ProblemAnswers> logger) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext context, Exception exception, CancellationToken cancellationToken)
    {
        if (HangUp.IsOne(exception, context.RequestAborted))
        {
            HangUp.End(context);
            return true;
        }
        var (code, detail) = exception switch
        {
            ProblemException problem => (problem.Code, problem.Message),
            LayerException layer => (ProblemException.CodeOf(layer.Error), layer.Message),
            StorageUnavailableException storage => (ProblemCode.Overloaded, storage.Message),
            MemoryBudgetException memory => (ProblemCode.Overloaded, memory.Message),
            OutOfMemoryException => (ProblemCode.Overloaded,
                "the process has no memory left for the request; send it again later, or smaller batches"),
            StorageFullException full => (ProblemCode.LimitReached, full.Message),
            BadHttpRequestException http => (CodeOf(http.StatusCode), DetailOf(http)),
            _ => (ProblemCode.InternalError, "an unexpected condition; the service's log has the cause under this trace_id"),
        };
        if (exception is StorageUnavailableException or StorageFullException)
            calls.StoreFailed(exception is StorageFullException ? "full" : "unavailable");
        if (code == ProblemCode.StateDamaged)
        {
            calls.StoreFailed("damaged");
            LogDamaged(logger, Excerpt.Printable(detail));
        }
        if (code == ProblemCode.InternalError) LogUnexpected(logger, exception);
        await WriteAsync(context, code, detail, exception.GetType().Name);
        await UnreadBody.SkipAsync(context, code);
        return true;
    }

    /// <summary>Refuses a request that has not been looked at.</summary>
    public static async Task RefuseAsync(HttpContext context, ProblemCode code, string detail)
    {
        await WriteAsync(context, code, detail);
        await UnreadBody.SkipAsync(context, code);
    }

    /// <summary>Gives a request up whose client is not waited for any longer.</summary>
    public static Task GiveUpAsync(HttpContext context, string detail) => WriteAsync(context, ProblemCode.Overloaded, detail);

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

    private static async Task WriteAsync(HttpContext context, ProblemCode code, string text, string? cause = null)
    {
        // Details quote what was sent, and it may be a key in the wrong place.
        var detail = Excerpt.Printable(KeyText.Mask(text));
        var isOpenInference = context.Request.Path.StartsWithSegments("/v2");
        context.Response.StatusCode = isOpenInference ? OpenInferenceStatus(code.Status) : code.Status;
        if (code.Status == StatusCodes.Status503ServiceUnavailable) RetryAfter.Tell(context, cause ?? code.Code);
        if (code == ProblemCode.Unauthorized) context.Response.Headers.WWWAuthenticate = "Bearer";
        // Kestrel ends the connection, whose unread body is too large to be skipped: a client must not send its next request on it.
        if (code == ProblemCode.PayloadTooLarge && !HttpProtocol.IsHttp2(context.Request.Protocol)) context.Response.Headers.Connection =
            "close";
        var traceId = Activity.Current?.TraceId.ToHexString() ?? context.TraceIdentifier;
        if (isOpenInference)
        {
            // It has one text, so that the trace_id that an internal error's detail points to is put behind it.
            var error = new OpenInferenceError(code == ProblemCode.InternalError ? $"{detail} {traceId}" : detail);
            await WriteAsync(context, error, ContractJson.Context.OpenInferenceError, MediaTypes.Json);
            return;
        }
        var problem = new Problem
        {
            Type = $"/problems/{code.Code}",
            Title = code.Title,
            Status = code.Status,
            Detail = detail,
            Code = code.Code,
            TraceId = traceId,
        };
        await WriteAsync(context, problem, ContractJson.Context.Problem, MediaTypes.ProblemJson);
    }

    // A failure of the handler of failures would be logged as one of the service.
    private static async Task WriteAsync<T>(HttpContext context, T problem, JsonTypeInfo<T> contract, string mediaType)
    {
        try
        {
            await context.Response.WriteAsJsonAsync(problem, contract, mediaType, context.RequestAborted);
        }
        catch (Exception exception) when (HangUp.IsOne(exception, context.RequestAborted))
        {
            HangUp.End(context);
        }
    }

    // The server's own words are about its settings.
    private static string DetailOf(BadHttpRequestException exception) => exception.StatusCode switch
    {
        StatusCodes.Status408RequestTimeout => "the body came more slowly than the service waits for; send it again, or in smaller batches",
        StatusCodes.Status413PayloadTooLarge => "the body must be at most Limits:MaxBodyBytes long, got more",
        StatusCodes.Status400BadRequest =>
            "the request is not valid HTTP: its body ends before its Content-Length, or a header or chunk is malformed",
        _ => exception.Message,
    };

    // What the protocol's clients know to tell apart; everything else that is wrong with a request is 400 to them.
    private static int OpenInferenceStatus(int status) => status switch
    {
        401 or 403 or 404 or 405 or 413 or 421 or 429 or >= 500 => status,
        _ => StatusCodes.Status400BadRequest,
    };

    private static ProblemCode CodeOf(int status) => status switch
    {
        StatusCodes.Status404NotFound => ProblemCode.NotFound,
        StatusCodes.Status405MethodNotAllowed => ProblemCode.MethodNotAllowed,
        StatusCodes.Status406NotAcceptable => ProblemCode.NotAcceptable,
        StatusCodes.Status408RequestTimeout => ProblemCode.RequestTimeout,
        StatusCodes.Status413PayloadTooLarge => ProblemCode.PayloadTooLarge,
        StatusCodes.Status429TooManyRequests => ProblemCode.TooManyRequests,
        StatusCodes.Status415UnsupportedMediaType => ProblemCode.UnsupportedMediaType,
        StatusCodes.Status503ServiceUnavailable => ProblemCode.Overloaded,
        >= 400 and < 500 => ProblemCode.BadRequest,
        _ => ProblemCode.InternalError,
    };

    [LoggerMessage(Level = LogLevel.Error, Message = "Unexpected failure")]
    private static partial void LogUnexpected(ILogger logger, Exception exception);

    [LoggerMessage(Level = LogLevel.Error, Message = "Stored state is damaged: {Detail}")]
    private static partial void LogDamaged(ILogger logger, string detail);
}
