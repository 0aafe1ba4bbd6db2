using System.Collections.Frozen;

namespace BnService.Api.Errors;

/// <summary>One of the closed set of problems that the service answers with.</summary>
/// <param name="Code">The stable name that programs compare with; also the last segment of the problem's <c>type</c>.</param>
/// <param name="Status">The HTTP status.</param>
/// <param name="Title">What it is, in a few words.</param>
/// <param name="Meaning">When it happens.</param>
/// <param name="Remedy">What the caller can do.</param>
public sealed record ProblemCode(string Code, int Status, string Title, string Meaning, string Remedy)
{
    /// <summary>The body cannot be read.</summary>
    public static ProblemCode MalformedBody { get; } = new("malformed-body", 400, "The body cannot be read",
        "The request's body is not well-formed JSON, ends too early, names a field twice or lacks a field that the call needs.",
        "The detail says where reading stopped and what was expected there. Correct the body and send it again; nothing has changed.");

    /// <summary>A request that HTTP itself does not allow.</summary>
    public static ProblemCode BadRequest { get; } = new("bad-request", 400, "The request is not valid HTTP",
        "The request line, a header or the framing of the body is not what HTTP allows.",
        "Check the client library or proxy that wrote the request.");

    /// <summary>No key, or none that is known.</summary>
    public static ProblemCode Unauthorized { get; } = new("unauthorized", 401, "A key is needed",
        "The request has no API key, or one that the service does not know: it may be mistyped, rotated or revoked.",
        "Send a key in the header Authorization: Bearer <key>, or X-Api-Key: <key>. An admin creates keys with POST /v1/keys, the " +
            "operator the first one with the verb keys create of the service's program.");

    /// <summary>A key that may not do this.</summary>
    public static ProblemCode Forbidden { get; } = new("forbidden", 403, "The key may not do this",
        "The role of the key is too small for the call, or a name lies outside the key's prefix.",
        "Use a key with the role that the detail names, or a name that begins with the key's prefix.");

    /// <summary>A page of another origin.</summary>
    public static ProblemCode ForeignOrigin { get; } = new("foreign-origin", 403, "A page of another origin",
        "A browser has sent the request for a page of another origin, which may not change anything here.",
        "Have the operator name the page's origin in Cors:Origins, or call the service from a page of its own origin or from a program.");

    /// <summary>No session under this name or id.</summary>
    public static ProblemCode SessionNotFound { get; } = new("session-not-found", 404, "No such session",
        "No session has the name or id in the path; it may have been deleted.",
        "List the sessions with GET /v1/sessions, or create one with POST /v1/sessions.");

    /// <summary>No such snapshot.</summary>
    public static ProblemCode VersionNotFound { get; } = new("version-not-found", 404, "No such snapshot",
        "The session exists, but has no snapshot of the version that was asked for; it may have been deleted.",
        "List the snapshots with GET /v1/sessions/{session}/snapshots, or leave the version out for the newest state.");

    /// <summary>No key with this id.</summary>
    public static ProblemCode KeyNotFound { get; } = new("key-not-found", 404, "No such key",
        "No key has the id in the path; it may have been revoked.",
        "List the keys with GET /v1/keys.");

    /// <summary>A path that does not exist.</summary>
    public static ProblemCode NotFound { get; } = new("not-found", 404, "No such resource",
        "Nothing is served under this path.",
        "See /swagger for every path of the service.");

    /// <summary>A method that the path does not have.</summary>
    public static ProblemCode MethodNotAllowed { get; } = new("method-not-allowed", 405, "Method not allowed",
        "The path exists, but not with this method.",
        "The Allow header lists the methods that the path has.");

    /// <summary>The client accepts no form that the answer can have.</summary>
    public static ProblemCode NotAcceptable { get; } = new("not-acceptable", 406, "No acceptable form of the answer",
        "The Accept header allows none of the media types that this call can answer with.",
        "Send one of the media types that the detail lists, or no Accept header.");

    /// <summary>The client took too long to send its request.</summary>
    public static ProblemCode RequestTimeout { get; } = new("request-timeout", 408, "The request came too slowly",
        "The body arrived more slowly than the service waits for.",
        "Send it again over a better connection, or in smaller batches; nothing has changed.");

    /// <summary>The name is taken.</summary>
    public static ProblemCode SessionExists { get; } = new("session-exists", 409, "The session exists",
        "A session has the name that was asked for; with PUT, one with other options, which the detail says.",
        "Choose another name, or use the session that exists; PUT answers it where the options are the same.");

    /// <summary>No running statistics to infer with.</summary>
    public static ProblemCode NoRunningStatistics { get; } = new("no-running-statistics", 409, "No running statistics yet",
        "The session requires running statistics (require_statistics), but no batch has moved them and nobody has set them; or a " +
            "calibration is committed, or a session merged, that has gathered none.",
        "Train it for some steps, send calibration batches, or set them with PUT /v1/sessions/{session}/running-stats.");

    /// <summary>What is stored is not what was written.</summary>
    public static ProblemCode StateDamaged { get; } = new("state-damaged", 409, "The stored state is damaged",
        "What is stored of the session, the snapshot or the remembered answer that the detail names is not what was written there: its " +
            "checksum does not match, or it cannot be read. Repeating the request does not help; nothing else is affected.",
        "Restore the session from a snapshot, replace it with PUT /v1/sessions/{session}/state, or delete it; have the operator look at " +
            "the disk.");

    /// <summary>A configured limit on stored things.</summary>
    public static ProblemCode LimitReached { get; } = new("limit-reached", 409, "A limit is reached",
        "The service already holds as many sessions, features or retained bytes as its configuration allows.",
        "Delete what is no longer needed, send \"retain\": false, or have the operator raise the limit that the detail names.");

    /// <summary>The key that all others depend on.</summary>
    public static ProblemCode LastAdminKey { get; } = new("last-admin-key", 409, "The last key of an admin",
        "Without this key nobody could create, rotate or revoke keys any more.",
        "Create another key with the role admin first, or rotate this one; the operator can revoke it with the verb keys revoke of the " +
            "service's program.");

    /// <summary>The activations of a step are gone.</summary>
    public static ProblemCode StepExpired { get; } = new("step-expired", 410, "The step is no longer retained",
        "The activations of the step were dropped: their time to live is over, newer steps needed the memory, or the step was never " +
            "retained here.",
        "Send x again with dy (and mode train) instead of step_id.");

    /// <summary>If-Match does not hold.</summary>
    public static ProblemCode VersionConflict { get; } = new("version-conflict", 412, "The session has moved on",
        "If-Match names another version of the session than the current one.",
        "Read the session again and decide with its current state; the ETag header carries its version.");

    /// <summary>The body is too large.</summary>
    public static ProblemCode PayloadTooLarge { get; } = new("payload-too-large", 413, "The body is too large",
        "The request's body is larger than the service allows (Limits:MaxBodyBytes).",
        "Send smaller batches, or have the operator raise the limit.");

    /// <summary>A request in a form that the call does not read.</summary>
    public static ProblemCode UnsupportedMediaType { get; } = new("unsupported-media-type", 415, "Unsupported media type",
        "The call does not read bodies of the request's Content-Type.",
        "Send one of the media types that the detail lists.");

    /// <summary>A tensor or parameter of the wrong shape.</summary>
    public static ProblemCode ShapeMismatch { get; } = new("shape-mismatch", 422, "The shape does not fit",
        "A tensor's data does not fill its shape, or a tensor or parameter does not have the shape that the session needs.",
        "The detail names the field, the shape that came and the shape that is expected.");

    /// <summary>A request for somebody else.</summary>
    public static ProblemCode MisdirectedRequest { get; } = new("misdirected-request", 421, "The request is for another host",
        "The Host of the request is no name of this service: none that AllowedHosts has, or, as long as there is no key, none of the " +
            "machine itself.",
        "Call the service by a name that it has (localhost, while there is no key), or have the operator allow the name with " +
            "AllowedHosts.");

    /// <summary>An option outside its range.</summary>
    public static ProblemCode InvalidOption { get; } = new("invalid-option", 422, "An option is not valid",
        "An option or parameter has a value outside its range, has the wrong type, is unknown, or does not belong to this session.",
        "The detail names the option, the value that came and what is allowed.");

    /// <summary>An Idempotency-Key that was used for something else.</summary>
    public static ProblemCode IdempotencyKeyReused { get; } =
        new("idempotency-key-reused", 422, "The Idempotency-Key was used for another request",
        "The session remembers the key of an earlier request that had another body, other options or another path.",
        "Use a new key for each request, and the same key only to repeat a request as it was.");

    /// <summary>A statistic over one value.</summary>
    public static ProblemCode BatchTooSmall { get; } = new("batch-too-small", 422, "The batch is too small",
        "In training mode each statistic needs more than one value: the variance of a single value is undefined.",
        "Send larger batches, or use inference, or set the session's mode to frozen.");

    /// <summary>NaN or infinity where it would poison the state.</summary>
    public static ProblemCode NonFiniteInput { get; } = new("non-finite-input", 422, "The input is not finite",
        "A tensor holds NaN, an infinity or a number beyond float32, which would poison the session's state forever.",
        "Find where the values come from; or create the session with non_finite propagate to let them through as PyTorch does.");

    /// <summary>A rank did not come.</summary>
    public static ProblemCode SyncTimeout { get; } = new("sync-timeout", 504, "A rank did not come",
        "The ranks of a synchronized step wait for each other, and not all of them have come in time (Sync:Timeout). Nothing has changed.",
        "Send the step again from every rank; check that all ranks name the same group and world_size, and that none has failed.");

    /// <summary>A defect of the service.</summary>
    public static ProblemCode InternalError { get; } = new("internal-error", 500, "The service failed",
        "The service met a condition that it does not expect. Nothing has been acknowledged.",
        "Report it with the trace_id; the service's log has the cause under the same id.");

    /// <summary>One caller asks for too much.</summary>
    public static ProblemCode TooManyRequests { get; } = new("too-many-requests", 429, "Too many requests",
        "The caller sends more requests per second than one may (Limits:RequestsPerSecond), its address more that no key lets in " +
            "(Limits:WrongKeysPerSecond), or its key has more requests, streams or waiting ranks at one time than one may " +
            "(Limits:MaxRequestsPerKey, MaxStreamsPerKey, MaxWaitingRanksPerKey).",
        "Send the request again after the time in the Retry-After header; send larger batches less often, and fewer at one time.");

    /// <summary>Not now.</summary>
    public static ProblemCode Overloaded { get; } = new("overloaded", 503, "The service is not available now",
        "The service is starting, stopping or has no room for the request at this moment.",
        "Send the request again after the time in the Retry-After header.");

    /// <summary>Every problem, by its code.</summary>
    public static FrozenDictionary<string, ProblemCode> All { get; } = new[]
    {
        MalformedBody, BadRequest, Unauthorized, Forbidden, ForeignOrigin, SessionNotFound, VersionNotFound, KeyNotFound, NotFound,
        MethodNotAllowed, NotAcceptable,
        RequestTimeout, SessionExists, NoRunningStatistics, StateDamaged, LimitReached, LastAdminKey, StepExpired, VersionConflict,
        PayloadTooLarge,
        UnsupportedMediaType, ShapeMismatch, InvalidOption, IdempotencyKeyReused, BatchTooSmall, NonFiniteInput, TooManyRequests,
        InternalError,
        Overloaded, SyncTimeout, MisdirectedRequest,
    }.ToFrozenDictionary(problem => problem.Code);
}
