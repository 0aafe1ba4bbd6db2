using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Endpoints;

/// <summary>Reading a session's statistics, and setting its parameters and running statistics.</summary>
internal static class StatisticsEndpoints
{
    private static readonly string[] ArrayParts = ["running_mean", "running_var", "gamma", "beta", "last_batch"];
    private static readonly string[] Parts = ["num_batches_tracked", .. ArrayParts, "version", "diagnostics"];

    public static void MapStatistics(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Statistics");
        group.MapGet("/stats", Stats).WithName("GetStats").Needs(Role.Reader).FindsSession()
            .Answers<StatsResponse>().Fails(ProblemCode.InvalidOption);
        group.MapPut("/parameters", PutParameters).WithName("PutParameters").Sets()
            .Reads<PutParametersRequest>().Answers<ParametersResponse>();
        group.MapPut("/running-stats", PutRunningStats).WithName("PutRunningStats").Sets()
            .Reads<PutRunningStatsRequest>().Answers<RunningStatsResponse>();
    }

    private static RouteHandlerBuilder Sets(this RouteHandlerBuilder route) => route.Needs(Role.Trainer).FindsSession().ChangesState()
        .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached);

    /// <summary>Statistics of a session</summary>
    /// <remarks>Running statistics, parameters, the last batch and diagnostics. `include` narrows the answer.</remarks>
    internal static async Task<IResult> Stats([AsParameters] SessionCall call, string? include)
    {
        var parts = include?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (parts?.FirstOrDefault(part => !Parts.Contains(part)) is { } unknown)
            throw Invalid($"include must be some of {string.Join(",", Parts)}, got '{unknown}'");
        var layer = (await call.GetAsync()).Current.Layer;
        var hasArrays = parts is null || parts.Any(ArrayParts.Contains);
        return new Answer<StatsResponse>(Response(layer, parts), layer.Version) { Holds = hasArrays ? layer : null };
    }

    /// <summary>Set gamma and beta</summary>
    /// <remarks>Sets gamma, beta or both; what is absent stays.</remarks>
    internal static async Task<IResult> PutParameters(
        [AsParameters] SessionCall call, Body<PutParametersRequest> body, Precondition ifMatch)
    {
        var found = await call.GetAsync();
        var request = await body.ReadAsync();
        if (request is { Gamma: null, Beta: null }) throw Invalid("send gamma, beta or both");
        var layer = await ChangeAsync(call, found, ifMatch, layer => layer.WithParameters(request.Gamma, request.Beta));
        var answer = new ParametersResponse { Gamma = layer.Gamma, Beta = layer.Beta, Version = layer.Version };
        return new Answer<ParametersResponse>(answer, layer.Version);
    }

    /// <summary>Set running statistics</summary>
    /// <remarks>Sets running mean, running variance and the number of batches; what is absent stays.</remarks>
    internal static async Task<IResult> PutRunningStats(
        [AsParameters] SessionCall call, Body<PutRunningStatsRequest> body, Precondition ifMatch)
    {
        var found = await call.GetAsync();
        var request = await body.ReadAsync();
        if (request is { RunningMean: null, RunningVar: null, NumBatchesTracked: null })
            throw Invalid("send running_mean, running_var or num_batches_tracked");
        var layer = await ChangeAsync(call, found, ifMatch,
            layer => layer.WithRunningStatistics(request.RunningMean, request.RunningVar, request.NumBatchesTracked));
        return new Answer<RunningStatsResponse>(Response(layer), layer.Version);
    }

    private static async Task<LayerState> ChangeAsync(
        SessionCall call, LayerSession found, Precondition ifMatch, Func<LayerState, LayerState> change) =>
        (await call.ChangeAsync(found, ifMatch, record => record with { Layer = change(record.Layer) })).Layer;

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
