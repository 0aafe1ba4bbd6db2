using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Wire;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>The problems that a call can answer with.</summary>
internal sealed record ProblemMetadata(IReadOnlyList<ProblemCode> Codes);

/// <summary>Marks a call that changes state: it honours If-Match.</summary>
internal sealed record ChangesStateMetadata;

/// <summary>The call honours Bn-Min-Version.</summary>
internal sealed record ReadsRecentMetadata;

/// <summary>Query parameters of the call itself, where those of a binary body's options lie too.</summary>
internal sealed record CallQuery(IReadOnlyList<string> Names);

/// <summary>What a route table says about its calls; the OpenAPI document is made of it.</summary>
internal static class EndpointDescription
{
    // Which media type a body may have is decided, and refused, by the negotiation: routing's own refusal could not name the allowed ones.
    private const string AnyMediaType = "*/*";

    /// <summary>The call reads a body of type <typeparamref name="T"/>.</summary>
    public static RouteHandlerBuilder Reads<T>(this RouteHandlerBuilder route, IReadOnlyList<string>? forms = null, bool isOptional = false)
        where T : class =>
        route.Accepts<T>(isOptional, AnyMediaType).WithMetadata(new ReadableForms(forms ?? MediaTypes.JsonAlone))
            .Fails(ProblemCode.MalformedBody, ProblemCode.RequestTimeout, ProblemCode.PayloadTooLarge, ProblemCode.UnsupportedMediaType);

    /// <summary>The call answers with a body of type <typeparamref name="T"/>.</summary>
    public static RouteHandlerBuilder Answers<T>(
        this RouteHandlerBuilder route, int status = StatusCodes.Status200OK, IReadOnlyList<string>? forms = null) =>
        route.Produces<T>(status, MediaTypes.Json).WithMetadata(new WritableForms(forms ?? MediaTypes.JsonAlone))
            .Fails(ProblemCode.NotAcceptable);

    /// <summary>The call answers without a body, so that there is nothing for <c>Accept</c> to choose.</summary>
    public static RouteHandlerBuilder Answers(this RouteHandlerBuilder route, int status) => route.Produces(status);

    /// <summary>The call can answer with these problems, beside those that any call can.</summary>
    public static RouteHandlerBuilder Fails(this RouteHandlerBuilder route, params ProblemCode[] codes) =>
        route.WithMetadata(new ProblemMetadata(codes));

    /// <summary>The call finds a session by the path.</summary>
    public static RouteHandlerBuilder FindsSession(this RouteHandlerBuilder route) =>
        route.Fails(ProblemCode.SessionNotFound, ProblemCode.StateDamaged);

    /// <summary>The call finds the session and the snapshot of its path or query.</summary>
    public static RouteHandlerBuilder FindsVersion(this RouteHandlerBuilder route) =>
        route.FindsSession().Fails(ProblemCode.VersionNotFound, ProblemCode.InvalidOption);

    /// <summary>The call's answer is remembered under an Idempotency-Key.</summary>
    public static RouteHandlerBuilder RemembersAnswer(this RouteHandlerBuilder route) =>
        route.WithMetadata(new RemembersAnswerMetadata()).Fails(ProblemCode.IdempotencyKeyReused);

    /// <summary>The call waits for a state as new as Bn-Min-Version says.</summary>
    public static RouteHandlerBuilder ReadsRecent(this RouteHandlerBuilder route) =>
        route.WithMetadata(new ReadsRecentMetadata()).Fails(ProblemCode.VersionConflict, ProblemCode.InvalidOption);

    /// <summary>The call has options in its query that are not part of a binary body's.</summary>
    public static RouteHandlerBuilder HasQuery(this RouteHandlerBuilder route, params string[] names) =>
        route.WithMetadata(new CallQuery(names));

    /// <summary>The call changes state and honours If-Match.</summary>
    public static RouteHandlerBuilder ChangesState(this RouteHandlerBuilder route) =>
        route.WithMetadata(new ChangesStateMetadata()).Fails(ProblemCode.VersionConflict);

    /// <summary>Names and explains the call.</summary>
    public static RouteHandlerBuilder Describe(this RouteHandlerBuilder route, string operationId, string summary, string description) =>
        route.WithName(operationId).WithSummary(summary).WithDescription(description);
}
