using System.Net;

namespace BnService.Client;

/// <summary>
/// A call that has failed: the service has refused it (RFC 9457), or could not be reached as often as <see cref="BnClientOptions"/> allow.
/// A call that was refused has changed nothing.
/// </summary>
public sealed class BnServiceException : Exception
{
    internal BnServiceException(string code, HttpStatusCode? status, string detail, string? traceId, Exception? cause = null)
        : base($"{code}: {detail}{(traceId is null ? "" : $" (trace {traceId})")}", cause) => (Code, Status, Detail, TraceId) = (code, status, detail, traceId);

    /// <summary>The problem's stable name, one of <see cref="ProblemCodes"/> or of a newer service.</summary>
    public string Code { get; }

    /// <summary>Status of the answer; null where none came.</summary>
    public HttpStatusCode? Status { get; }

    /// <summary>What was wrong: the field, what was sent and what is allowed.</summary>
    public string Detail { get; }

    /// <summary>Under which the service's log has the request; null where none came.</summary>
    public string? TraceId { get; }

    /// <summary>How long the service asks to wait; null where it does not say.</summary>
    public TimeSpan? RetryAfter { get; internal init; }

    /// <summary>How often the call was sent.</summary>
    public int Attempts { get; internal init; } = 1;

    /// <summary>
    /// Whether an attempt may have been made without the answer having arrived. False means that the call has changed nothing.
    /// </summary>
    public bool MayHaveHappened { get; internal init; }
}
