namespace BnService.Client;

/// <summary>The values of <see cref="BnServiceException.Code"/>. The service says at <c>/problems/{code}</c> what each means and what to do.</summary>
public static class ProblemCodes
{
    /// <summary>The body cannot be read.</summary>
    public const string MalformedBody = "malformed-body";

    /// <summary>A key is needed, or the one that was sent is not known.</summary>
    public const string Unauthorized = "unauthorized";

    /// <summary>The key's role is too small, or a name lies outside its prefix.</summary>
    public const string Forbidden = "forbidden";

    /// <summary>A browser has sent the request for a page of another origin, which may not change anything.</summary>
    public const string ForeignOrigin = "foreign-origin";

    /// <summary>No session has this name.</summary>
    public const string SessionNotFound = "session-not-found";

    /// <summary>The session has no snapshot of this version.</summary>
    public const string VersionNotFound = "version-not-found";

    /// <summary>The name is taken.</summary>
    public const string SessionExists = "session-exists";

    /// <summary>The session requires running statistics and has none yet.</summary>
    public const string NoRunningStatistics = "no-running-statistics";

    /// <summary>What is stored of the session, snapshot or answer is damaged: restore a snapshot, import a state over it, or delete it.</summary>
    public const string StateDamaged = "state-damaged";

    /// <summary>The service holds as many sessions, features or bytes as it may.</summary>
    public const string LimitReached = "limit-reached";

    /// <summary>The activations of the step are gone.</summary>
    public const string StepExpired = "step-expired";

    /// <summary>The session is at another version than the call allows.</summary>
    public const string VersionConflict = "version-conflict";

    /// <summary>The body is larger than the service allows.</summary>
    public const string PayloadTooLarge = "payload-too-large";

    /// <summary>The service does not answer to the name that it was called by.</summary>
    public const string MisdirectedRequest = "misdirected-request";

    /// <summary>A shape does not fit.</summary>
    public const string ShapeMismatch = "shape-mismatch";

    /// <summary>An option is outside its range, or does not belong to the session.</summary>
    public const string InvalidOption = "invalid-option";

    /// <summary>The key of the call has come with another request.</summary>
    public const string IdempotencyKeyReused = "idempotency-key-reused";

    /// <summary>A statistic of one value has no variance.</summary>
    public const string BatchTooSmall = "batch-too-small";

    /// <summary>The input has NaN or infinities.</summary>
    public const string NonFiniteInput = "non-finite-input";

    /// <summary>Too many requests per second.</summary>
    public const string TooManyRequests = "too-many-requests";

    /// <summary>The service has no room for the request now, or is starting or stopping.</summary>
    public const string Overloaded = "overloaded";

    /// <summary>A rank of a synchronized step did not come.</summary>
    public const string SyncTimeout = "sync-timeout";

    /// <summary>This client's own: no connection, or it was lost before the answer was whole.</summary>
    public const string ConnectionLost = "connection-lost";

    /// <summary>This client's own: an attempt took longer than <see cref="BnClientOptions.AttemptTimeout"/>.</summary>
    public const string AttemptTimeout = "attempt-timeout";

    /// <summary>This client's own: what was answered is no answer of the service; something else may listen there.</summary>
    public const string UnexpectedAnswer = "unexpected-answer";
}
