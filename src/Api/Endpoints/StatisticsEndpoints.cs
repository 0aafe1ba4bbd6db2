using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Endpoints;

/// <summary>Reading a session's statistics, and setting its parameters and running statistics.</summary>
internal static class StatisticsEndpoints
{
    private static readonly string[] Parts = ["num_batches_tracked", "running_mean", "running_var", "gamma", "beta", "last_batch", "version", "diagnostics"];

    private static readonly string[] ArrayParts = ["running_mean", "running_var", "gamma", "beta", "last_batch"];

    /// <summary>Maps the calls.</summary>
    public static void MapStatistics(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Statistics");
        group.MapGet("/stats", Stats).Needs(Role.Reader).Answers<StatsResponse>().FindsSession().Fails(ProblemCode.InvalidOption)
            .Describe("GetStats", "Statistics of a session", "Running statistics, parameters, the last batch and diagnostics. `include` narrows the answer.");
        group.MapPut("/parameters", PutParameters).Needs(Role.Trainer).Reads<PutParametersRequest>().Answers<ParametersResponse>().FindsSession().ChangesState()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("PutParameters", "Set gamma and beta", "Sets gamma, beta or both; what is absent stays.");
        group.MapPut("/running-stats", PutRunningStats).Needs(Role.Trainer).Reads<PutRunningStatsRequest>().Answers<RunningStatsResponse>().FindsSession().ChangesState()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("PutRunningStats", "Set running statistics", "Sets running mean, running variance and the number of batches; what is absent stays.");
    }

    private static async Task<IResult> Stats(string session, string? include, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var parts = include?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (parts?.FirstOrDefault(part => !Parts.Contains(part)) is { } unknown)
            throw Invalid($"include must be some of {string.Join(",", Parts)}, got '{unknown}'");
        var layer = (await catalog.GetAsync(scope, session, cancellationToken)).Current.Layer;
        return new Answer<StatsResponse>(Response(layer, parts), layer.Version) { Holds = parts is null || parts.Any(ArrayParts.Contains) ? layer : null };
    }

    private static async Task<IResult> PutParameters(
        string session, Body<PutParametersRequest> body, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var request = body.Value;
        if (request is { Gamma: null, Beta: null }) throw Invalid("send gamma, beta or both");
        var layer = await ChangeAsync(session, ifMatch, scope, catalog, layer => layer.WithParameters(request.Gamma, request.Beta), cancellationToken);
        return new Answer<ParametersResponse>(new ParametersResponse { Gamma = layer.Gamma, Beta = layer.Beta, Version = layer.Version }, layer.Version);
    }

    private static async Task<IResult> PutRunningStats(
        string session, Body<PutRunningStatsRequest> body, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var request = body.Value;
        if (request is { RunningMean: null, RunningVar: null, NumBatchesTracked: null })
            throw Invalid("send running_mean, running_var or num_batches_tracked");
        var layer = await ChangeAsync(session, ifMatch, scope, catalog,
            layer => layer.WithRunningStatistics(request.RunningMean, request.RunningVar, request.NumBatchesTracked), cancellationToken);
        return new Answer<RunningStatsResponse>(Response(layer), layer.Version);
    }

    private static async Task<LayerState> ChangeAsync(
        string session, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, Func<LayerState, LayerState> change, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var changed = await catalog.ChangeAsync(found, record =>
        {
            ifMatch.Check(record.Layer.Version);
            return record with { Layer = change(record.Layer) };
        }, cancellationToken);
        return changed.Layer;
    }

    /// <summary>The running statistics of a layer that keeps them.</summary>
    internal static RunningStatsResponse Response(LayerState layer) => new()
    {
        RunningMean = layer.Running!.Mean,
        RunningVar = layer.Running.Variance,
        NumBatchesTracked = layer.Running.BatchesTracked,
        Version = layer.Version,
    };

    private static StatsResponse Response(LayerState layer, string[]? parts) => new()
    {
        Included = parts,
        NumBatchesTracked = layer.Running?.BatchesTracked ?? 0,
        RunningMean = layer.Running?.Mean,
        RunningVar = layer.Running?.Variance,
        Gamma = layer.Gamma,
        Beta = layer.Beta,
        LastBatch = layer.LastBatch is { } last ? new BatchStatistics { Mean = last.Mean, Var = last.Variance, Count = last.Count } : null,
        Version = layer.Version,
        Diagnostics = Diagnose(layer),
    };

    private static Diagnostics? Diagnose(LayerState layer)
    {
        if (layer.Running is not { } running) return null;
        var convergence = Convergence.Of(layer.Options.Momentum, running);
        var drift = Diagnosis.DriftOf(layer.LastBatch, running);
        return new Diagnostics
        {
            InitialWeight = convergence.InitialWeight,
            EffectiveBatches = convergence.EffectiveBatches,
            Settled = convergence.IsSettled,
            Drift = DiagnosticsEndpoints.Report(drift),
        };
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
