using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Layers;

namespace BnService.Api.Endpoints;

/// <summary>Synchronized batch normalization: the calls of all ranks of one step are joined.</summary>
internal static class SyncEndpoints
{
    /// <summary>The most ranks of a group.</summary>
    public const int MostRanks = 1024;

    private const string Rank = "rank", WorldSize = "world_size";

    /// <summary>Maps the calls.</summary>
    public static void MapSync(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}/sync/{group}").WithTags("Synchronized");
        group.MapPost("/train-step", TrainStep).Needs(Role.Trainer).Reads<TrainStepRequest>(MediaTypes.Tensors).Answers<TrainStepResponse>(forms: MediaTypes.Tensors).JoinsRanks()
            .Fails(ProblemCode.NoRunningStatistics)
            .Describe("SyncTrainStep", "Train on a part of a batch", "Normalizes this rank's part of a batch with the statistics of the parts of all `world_size` ranks, each of which makes this call with its `rank`, on any node; the calls wait for each other. The running statistics move once. Parts may have different sizes, and may be empty. A rank that does not come ends the step for all, and nothing has changed. To a frozen session there is nothing to wait for.");
        group.MapPost("/backward", Backward).Needs(Role.Trainer).Reads<BackwardRequest>(MediaTypes.Tensors).Answers<BackwardResponse>(forms: MediaTypes.Tensors).JoinsRanks()
            .Fails(ProblemCode.StepExpired)
            .Describe("SyncBackward", "Gradients of a part of a batch", "Gradients of this rank's part of a batch, through the statistics of the parts of all ranks: by x, and this part's own by gamma and beta, whose sum over the ranks is that of the whole batch. `update`, the same for all ranks, applies that sum once.");
    }

    private static async Task<IResult> TrainStep(
        string session, string group, string? rank, [Microsoft.AspNetCore.Mvc.FromQuery(Name = WorldSize)] string? worldSize, Body<TrainStepRequest> body,
        ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, SyncTrainStep training, PassMeter passes, ComputeSettings compute, CancellationToken cancellationToken)
    {
        var joined = RankOf(group, rank, worldSize);
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        await body.OpenAsync();
        var layer = found.Current.Layer;
        var digits = body.Digits(layer.Options, layer.NormalizesWithBatch, request => request.X);
        using var gathered = new ArrivingBatch(catalog, found, digits, passes, compute);
        var request = await body.ReadAsync(gathered, layer.Options.Precision, keepsText: digits is not null);
        var input = new BatchInput(request.X, request.Residual, request.Mask) { Own = OwnParameters.Of(request.Gamma, request.Beta) };
        var step = await training.RunAsync(found, joined, input, gathered, request.Retain, headers.Terms, cancellationToken);
        if (step.HasTakenInput) (request.X, request.Residual) = (null!, null); // retained: no longer this request's to give back
        return new Answer<TrainStepResponse>(LayerEndpoints.Response(step), step.Version) { IsReplayed = step.IsReplayed };
    }

    private static async Task<IResult> Backward(
        string session, string group, string? rank, [Microsoft.AspNetCore.Mvc.FromQuery(Name = WorldSize)] string? worldSize, Body<BackwardRequest> body,
        ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, SyncBackward backward, CancellationToken cancellationToken)
    {
        var joined = RankOf(group, rank, worldSize);
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        await body.OpenAsync();
        var digits = LayerEndpoints.DigitsOf(body, found.Current.Layer);
        var request = await body.ReadAsync(digits, found.Current.Layer.Options.Precision, keepsText: digits is not null);
        LayerEndpoints.RequireStepOrInput(request);
        var update = request.Update?.ToUpdate();
        var result = request.StepId is { } stepId
            ? await backward.ThroughStepAsync(found, joined, stepId, request.Dy, update, headers.Terms, cancellationToken)
            : await backward.ThroughInputAsync(found, joined, LayerEndpoints.InputOf(request), request.Dy, request.Mode != BackwardMode.Inference, digits, update, headers.Terms, cancellationToken);
        return new Answer<BackwardResponse>(LayerEndpoints.Response(result), result.Answer.Version) { IsReplayed = result.IsReplayed, Rounding = result.Rounding };
    }

    private static RouteHandlerBuilder JoinsRanks(this RouteHandlerBuilder route) =>
        route.Takes(Place.Rank).FindsSession().ChangesState().RemembersAnswer().HasQuery(Rank, WorldSize)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.SyncTimeout);

    private static SyncRank RankOf(string group, string? rank, string? worldSize)
    {
        SessionEndpoints.RequireName(group, "group");
        var size = QueryNumber.Parse(worldSize, WorldSize, 1, MostRanks) ?? throw Missing(WorldSize, $"from 1 to {MostRanks}");
        var number = QueryNumber.Parse(rank, Rank, 0, size - 1) ?? throw Missing(Rank, $"from 0 to {WorldSize} - 1");
        return new SyncRank(group, (int)number, (int)size);
    }

    private static ProblemException Missing(string name, string allowed) =>
        new(ProblemCode.InvalidOption, $"{name} must be a whole number {allowed} in the query, got none");
}
