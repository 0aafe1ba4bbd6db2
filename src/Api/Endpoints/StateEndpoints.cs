using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Layers;

namespace BnService.Api.Endpoints;

/// <summary>A session's whole state, out and in.</summary>
internal static class StateEndpoints
{
    // A name that is taken and cannot be found either: another's id, to who sees only some sessions.
    private const int MostAttempts = 10;

    /// <summary>Maps the calls.</summary>
    public static void MapState(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Statistics");
        group.MapGet("/state", Get).Needs(Role.Reader).Answers<StateResponse>(forms: MediaTypes.Named).FindsVersion()
            .Describe("GetState", "The whole state of a session", "Options, parameters, running statistics, optimizer buffers and the last batch. PUT takes it back as it is, and every number keeps its bits. `version` picks a snapshot.");
        group.MapPut("/state", Put).Needs(Role.Trainer).Reads<PutStateRequest>(MediaTypes.Named).Answers<StateResponse>(forms: MediaTypes.Named).Answers<StateResponse>(201, MediaTypes.Named).FindsSession().ChangesState().HasQuery(StateSource.QueryNames)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.SessionExists)
            .Describe("PutState", "Put a whole state", "Replaces a session's parameters and statistics in one step, or creates the session where the name is free. Takes what GET answers, and the arrays of PyTorch, Keras, flax, MXNet, ONNX and Caffe under their own names, with or without a prefix. Of a whole model's file `from` picks one layer; the answer names the others as `ignored`. A new session needs its `kind` if the body has no running statistics. The options of the layer and `convention` may be query parameters of the same names. Metadata of a safetensors file that other programs wrote is left alone.");
    }

    private static async Task<IResult> Get(
        string session, string? version, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        var (found, wanted) = (await catalog.GetAsync(scope, session, cancellationToken), QueryNumber.Version(version));
        var layer = await snapshots.LayerAsync(found, wanted, cancellationToken);
        return new Answer<StateResponse>(layer.ToState(null), layer.Version) { Holds = layer };
    }

    private static async Task<IResult> Put(
        string session, Body<PutStateRequest> body, string? from, string? kind, HttpRequest http, Precondition ifMatch, SessionScope scope, SessionCatalog catalog,
        CancellationToken cancellationToken)
    {
        _ = kind; // an option as the others are, but one that the document names
        StateSource.ApplyQuery(http.Query, body.Value);
        var (request, import, ignored) = (body.Value, body.Value.ToImport(), string.IsNullOrEmpty(from) ? null : body.Value.Ignored);
        for (var attempt = 1; ; attempt++)
        {
            if (await catalog.FindToReplaceAsync(scope, session, cancellationToken) is { } found)
                return AnswerWith(await ReplaceAsync(found, request, import, ifMatch, catalog, cancellationToken), ignored);
            // Another's name is not there to be created, as what it names is not there to be replaced.
            if (!scope.Contains(session)) throw SessionCatalog.NotFound(session);
            ifMatch.CheckAbsent(session);
            SessionEndpoints.RequireName(session);
            if (await TryCreateAsync(session, request, import, scope, catalog, attempt == MostAttempts, cancellationToken) is { } created)
                return new Answer<StateResponse>(created.ToState(ignored), created.Version) { Status = 201, Location = $"/v1/sessions/{session}" };
        }
    }

    private static async Task<LayerState> ReplaceAsync(
        LayerSession found, PutStateRequest request, LayerImport import, Precondition ifMatch, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        if (request.IsEmpty(import))
            throw new ProblemException(ProblemCode.InvalidOption, "send something of the state: parameters, statistics, optimizer, last_batch or options");
        var changed = await catalog.ChangeAsync(found, record =>
        {
            ifMatch.Check(record.Layer.Version);
            // Where the options are lost it is as with a new session, but of the same kind.
            var isLost = record.Damage == Damage.Header;
            var (options, convention) = isLost ? request.NewOptions(import) : request.OptionsOver(import, record.Layer.Options);
            if (isLost) StateMapping.RequireSameKind(record.Layer.Options.Kind, options.Kind);
            var layer = isLost ? LayerState.Create(options) with { Version = record.Layer.Version } : record.Layer;
            return record with { Layer = import.ApplyTo(layer, options), Convention = convention ?? record.Convention };
        }, cancellationToken);
        return changed.Layer;
    }

    // Null where somebody else has taken the name meanwhile: then there is a session to put the state into.
    private static async Task<LayerState?> TryCreateAsync(
        string name, PutStateRequest request, LayerImport import, SessionScope scope, SessionCatalog catalog, bool isLastAttempt,
        CancellationToken cancellationToken)
    {
        var (options, convention) = request.NewOptions(import);
        try
        {
            var created = await catalog.CreateAsync(scope, name, new Dictionary<string, string>(), options, convention,
                layer => import.ApplyTo(layer, options), cancellationToken);
            return created.Layer;
        }
        catch (ProblemException problem) when (problem.Code == ProblemCode.SessionExists && !isLastAttempt)
        {
            return null;
        }
    }

    private static Answer<StateResponse> AnswerWith(LayerState layer, string[]? ignored = null) => new(layer.ToState(ignored), layer.Version);
}
