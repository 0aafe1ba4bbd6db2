using System.Net;
using System.Security.Authentication;
using System.Text.Json;

namespace BnService.Client.Sending;

/// <summary>Why an attempt has failed.</summary>
/// <param name="Code">The problem's name.</param>
/// <param name="Detail">What was wrong.</param>
internal sealed record Failure(string Code, string Detail)
{
    // Longer than any problem of the service.
    private const int LongestProblem = 1 << 16;

    /// <summary>Status of the answer; null where none came.</summary>
    public HttpStatusCode? Status { get; init; }

    /// <summary>The service's id of the request, or null.</summary>
    public string? TraceId { get; init; }

    /// <summary>How long the service asks to wait.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>Whether the same may go well a moment later.</summary>
    public bool IsTransient { get; init; }

    /// <summary>Whether the answer, if there was one, was lost: nobody knows whether the call was made.</summary>
    public bool IsLost { get; init; }

    /// <summary>Whether the call may have been made all the same: a store that went away in the moment of a commit is 503 as well.</summary>
    public bool MayHaveHappened => IsLost || Status == HttpStatusCode.ServiceUnavailable;

    /// <summary>What was thrown where no answer came.</summary>
    public Exception? Cause { get; init; }

    /// <summary>The failure that an exception stands for; null where it is not one of the connection.</summary>
    public static Failure? Of(Exception exception, bool isTimedOut) => exception switch
    {
        OperationCanceledException when isTimedOut => new(ProblemCodes.AttemptTimeout, "the attempt took longer than BnClientOptions.AttemptTimeout")
        {
            IsTransient = true,
            IsLost = true,
            Cause = exception,
        },
        // The HttpClient's own limits, where they are shorter.
        OperationCanceledException { InnerException: TimeoutException } => new(ProblemCodes.AttemptTimeout, exception.Message)
        {
            IsTransient = true,
            IsLost = true,
            Cause = exception,
        },
        HttpRequestException http => new(ProblemCodes.ConnectionLost, http.Message)
        {
            IsTransient = http.HttpRequestError is not (HttpRequestError.VersionNegotiationError or HttpRequestError.UserAuthenticationError
                or HttpRequestError.ExtendedConnectNotSupported or HttpRequestError.ConfigurationLimitExceeded) && http.InnerException is not AuthenticationException,
            IsLost = http.HttpRequestError is not (HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError
                or HttpRequestError.SecureConnectionError or HttpRequestError.ProxyTunnelError),
            Cause = exception,
        },
        IOException => new(ProblemCodes.ConnectionLost, exception.Message) { IsTransient = true, IsLost = true, Cause = exception },
        ObjectDisposedException => null,
        InvalidDataException or JsonException or KeyNotFoundException or FormatException or InvalidOperationException =>
            new(ProblemCodes.UnexpectedAnswer, $"the answer cannot be read: {exception.Message}") { IsLost = true, Cause = exception },
        _ => null,
    };

    /// <summary>The failure that an answer tells of.</summary>
    /// <param name="response">The answer.</param>
    /// <param name="time">The clock that a date in Retry-After is held against.</param>
    /// <param name="cancellationToken">Ends reading.</param>
    public static async ValueTask<Failure> OfAsync(HttpResponseMessage response, TimeProvider time, CancellationToken cancellationToken)
    {
        var problem = await ReadProblemAsync(response, cancellationToken).ConfigureAwait(false);
        var status = response.StatusCode;
        // Without a problem of the service it is one of what lies between, which may have lost the answer.
        var isLost = problem is null && status is HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout;
        var wait = response.Headers.RetryAfter;
        var code = problem?.Code ?? CodeOf(status);
        return new(code, problem?.Detail ?? problem?.Title ?? $"answered {(int)status} {response.ReasonPhrase} without saying why")
        {
            Status = status,
            TraceId = problem?.TraceId,
            RetryAfter = wait?.Delta ?? (wait?.Date is { } date ? Positive(date - time.GetUtcNow()) : null),
            IsTransient = isLost || status is HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable,
            IsLost = isLost,
        };
    }

    /// <summary>The exception, after all attempts.</summary>
    public BnServiceException ToException(int attempts, bool mayHaveHappened) => new(Code, Status, Detail, TraceId, Cause)
    {
        RetryAfter = RetryAfter,
        Attempts = attempts,
        MayHaveHappened = mayHaveHappened,
    };

    private static string CodeOf(HttpStatusCode status) => status switch
    {
        HttpStatusCode.TooManyRequests => ProblemCodes.TooManyRequests,
        HttpStatusCode.ServiceUnavailable => ProblemCodes.Overloaded,
        HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout => ProblemCodes.ConnectionLost,
        _ => ProblemCodes.UnexpectedAnswer,
    };

    private static TimeSpan Positive(TimeSpan time) => time > TimeSpan.Zero ? time : TimeSpan.Zero;

    // Null where it is not a problem of the service. The status is known, so that a text that is lost is no reason to fail otherwise.
    private static async ValueTask<Problem?> ReadProblemAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if (response.Content.Headers.ContentType?.MediaType != "application/problem+json") return null;
        try
        {
            await response.Content.LoadIntoBufferAsync(LongestProblem, cancellationToken).ConfigureAwait(false);
            var text = await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false);
            return JsonSerializer.Deserialize(text, ClientJson.Default.Problem) is { Code.Length: > 0 } problem ? problem : null;
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or JsonException)
        {
            return null;
        }
    }
}

/// <summary>An error answer (RFC 9457).</summary>
internal sealed record Problem(string? Code, string? Title, string? Detail, string? TraceId);
