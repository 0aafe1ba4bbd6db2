using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Layers;
using Microsoft.AspNetCore.Mvc;

namespace BnService.Api.Endpoints;

/// <summary>A session's whole state, out and in.</summary>
internal static class StateEndpoints
{
    // A name that is taken and cannot be found either: another's id, to who sees only some sessions.
    private const int MostAttempts = 10;

    public static void MapState(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Statistics");
        group.MapGet("/state", Get).WithName("GetState").Needs(Role.Reader).FindsVersion().Answers<StateResponse>(forms: MediaTypes.Named);
        group.MapPut("/state", Put).WithName("PutState").Needs(Role.Trainer).FindsSession().ChangesState().HasQuery(StateSource.QueryNames)
            .Reads<PutStateRequest>(MediaTypes.Named).Answers<StateResponse>(forms: MediaTypes.Named)
            .Answers<StateResponse>(201, MediaTypes.Named)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.SessionExists);
    }

    /// <summary>The whole state of a session</summary>
    /// <remarks>
    /// Options, parameters, running statistics, optimizer buffers and the last batch. PUT takes it back as it is, and every number keeps
    /// its bits. `version` picks a snapshot.
    /// </remarks>
    internal static async Task<IResult> Get([AsParameters] SessionCall call, string? version, Snapshots snapshots)
    {
        var (found, wanted) = (await call.GetAsync(), QueryNumber.Version(version));
        var layer = await snapshots.LayerAsync(found, wanted, call.Ended);
        return new Answer<StateResponse>(layer.ToState(null), layer.Version) { Holds = layer };
    }

    /// <summary>Put a whole state</summary>
    /// <remarks>
    /// Replaces a session's parameters and statistics in one step, or creates the session where the name is free. Takes what GET answers,
    /// and the arrays of PyTorch, Keras, flax, MXNet, ONNX and Caffe under their own names, with or without a prefix. Of a whole model's
    /// file `from` picks one layer; the answer names the others as `ignored`. A new session needs its `kind` if the body has no running
    /// statistics. The options of the layer and `convention` may be query parameters of the same names. Metadata of a safetensors file that
    /// other programs wrote is left alone.
    /// </remarks>
    internal static async Task<IResult> Put(
        [AsParameters] SessionCall call, [AsParameters] PutStateQuery query, Body<PutStateRequest> body, Precondition ifMatch)
    {
        var request = await body.ReadAsync();
        StateSource.ApplyQuery(query.Http.Query, request);
        var (import, ignored) = (request.ToImport(), string.IsNullOrEmpty(query.From) ? null : request.Ignored);
        for (var attempt = 1; ; attempt++)
        {
            if (await call.Catalog.FindToReplaceAsync(call.Scope, call.Name, call.Ended) is { } found)
                return AnswerWith(await ReplaceAsync(call, found, request, import, ifMatch), ignored);
            call.RequireCreatable(ifMatch);
            if (await TryCreateAsync(call, request, import, attempt == MostAttempts) is { } created)
            {
                var location = $"/v1/sessions/{call.Name}";
                return new Answer<StateResponse>(created.ToState(ignored), created.Version) { Status = 201, Location = location };
            }
        }
    }

    private static async Task<LayerState> ReplaceAsync(
        SessionCall call, LayerSession found, PutStateRequest request, LayerImport import, Precondition ifMatch)
    {
        if (request.IsEmpty(import))
            throw new ProblemException(ProblemCode.InvalidOption,
                "send something of the state: parameters, statistics, optimizer, last_batch or options");
        var changed = await call.ChangeAsync(found, ifMatch, record =>
        {
            // Where the options are lost it is as with a new session, but of the same kind.
            var isLost = record.Damage == Damage.Header;
            var (options, convention) = isLost ? request.NewOptions(import) : request.OptionsOver(import, record.Layer.Options);
            if (isLost) StateMapping.RequireSameKind(record.Layer.Options.Kind, options.Kind);
            var layer = isLost ? LayerState.Create(options) with { Version = record.Layer.Version } : record.Layer;
            return record with { Layer = import.ApplyTo(layer, options), Convention = convention ?? record.Convention };
        });
        return changed.Layer;
    }

    // Null where somebody else has taken the name meanwhile: then there is a session to put the state into.
    private static async Task<LayerState?> TryCreateAsync(SessionCall call, PutStateRequest request, LayerImport import, bool isLastAttempt)
    {
        var (options, convention) = request.NewOptions(import);
        try
        {
            var created = await call.Catalog.CreateAsync(call.Scope, call.Name, new Dictionary<string, string>(), options, convention,
                layer => import.ApplyTo(layer, options), call.Ended);
            return created.Layer;
        }
        catch (ProblemException problem) when (problem.Code == ProblemCode.SessionExists && !isLastAttempt)
        {
            return null;
        }
    }

    private static Answer<StateResponse> AnswerWith(LayerState layer, string[]? ignored = null) =>
        new(layer.ToState(ignored), layer.Version);
}

/// <summary>The query of PUT state. It may have every option of a layer as well; the document names these two.</summary>
internal sealed class PutStateQuery
{
    [FromQuery(Name = StateSource.FromName)]
    public string? From { get; init; }

    [FromQuery(Name = "kind")]
    public string? Kind { get; init; }

    public required HttpRequest Http { get; init; }
}
