namespace BnService.Api.Contracts;

/// <summary>An error answer (RFC 9457, application/problem+json). An answer that is not 2xx has changed nothing.</summary>
public sealed class Problem
{
    /// <summary>Path of a page that says what the problem means and what to do.</summary>
    public required string Type { get; init; }

    /// <summary>The problem in a few words.</summary>
    public required string Title { get; init; }

    /// <summary>The HTTP status.</summary>
    public required int Status { get; init; }

    /// <summary>This occurrence: the field, what was sent and what is allowed.</summary>
    public required string Detail { get; init; }

    /// <summary>The problem's stable name.</summary>
    public required string Code { get; init; }

    /// <summary>Under which the service's log has the request.</summary>
    public required string TraceId { get; init; }
}
