using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Wire;

namespace BnService.Api.Endpoints;

/// <summary>Population statistics: gathering them over a data set, merging those gathered elsewhere, and taking them over.</summary>
internal static class CalibrationEndpoints
{
    public static void MapCalibration(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Calibration");
        group.MapPost("/calibration/batches", AddBatch).WithName("AddCalibrationBatch").Gathers()
            .Reads<CalibrationBatchRequest>(MediaTypes.Tensors).Answers<PopulationResponse>(forms: MediaTypes.Named)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached);
        group.MapPost("/merge", Merge).WithName("MergeStatistics").Gathers()
            .Reads<MergeRequest>(MediaTypes.Named).Answers<PopulationResponse>(forms: MediaTypes.Named)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.NoRunningStatistics);
        group.MapPost("/calibration/commit", Commit).WithName("CommitCalibration").Gathers()
            .Answers<RunningStatsResponse>(forms: MediaTypes.Named)
            .Fails(ProblemCode.BatchTooSmall, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.NoRunningStatistics);
        group.MapDelete("/calibration", Drop).WithName("DropCalibration").Gathers().Answers(204);
    }

    private static RouteHandlerBuilder Gathers(this RouteHandlerBuilder route) =>
        route.Needs(Role.Trainer).FindsSession().ChangesState().RemembersAnswer();

    /// <summary>Gather a batch's statistics</summary>
    /// <remarks>
    /// Adds a batch to the exact statistics of a data set (the population statistics of the paper, precise batch norm): batches of any
    /// sizes in any order give the same numbers as the whole in one piece. The running statistics stay until commit. An empty batch moves
    /// nothing.
    /// </remarks>
    internal static async Task<IResult> AddBatch(
        [AsParameters] SessionCall call, Body<CalibrationBatchRequest> body, ChangeHeaders headers, Calibration calibration)
    {
        var found = await call.GetAsync();
        await body.OpenAsync();
        var options = found.Current.Layer.Options;
        var digits = body.Digits(options, usesBatch: true, request => request.X);
        var request = await body.ReadAsync(digits, options.Precision, keepsText: digits is not null);
        return AnswerWith(await calibration.AddAsync(found, request.X, request.Mask, digits, headers.Terms, call.Ended));
    }

    /// <summary>Merge statistics gathered elsewhere</summary>
    /// <remarks>
    /// Adds `moments` computed elsewhere and what other `sessions` have gathered to what this session gathers, all or none, as if their
    /// batches had been calibration batches. A session without a population estimate gives the exact union of all finite batches that have
    /// moved its running statistics.
    /// </remarks>
    internal static async Task<IResult> Merge(
        [AsParameters] SessionCall call, Body<MergeRequest> body, ChangeHeaders headers, Calibration calibration)
    {
        var found = await call.GetAsync();
        var request = await body.ReadAsync();
        var (entries, others) = (request.AllMoments(), request.Sessions ?? []);
        if (entries.Length + others.Length == 0) throw Invalid("send moments, sessions or both, and not both empty");
        if (Array.IndexOf(others, null) is var absent and >= 0)
            throw Invalid($"sessions[{absent}] must be the name or id of a session, got null");
        var layer = found.Current.Layer;
        layer.RequirePopulation();
        // One statistic per position: where nothing has fixed the number of positions, the first entry does.
        var first = entries.Length > 0 ? entries[0].Mean.Length : 0;
        var features = layer.FeaturesAreFixed || first == 0 || first % layer.Features != 0 ? layer.Features : first;
        var moments = entries.Select((entry, index) => entry.ToMoments($"moments[{index}]", features)).ToList();
        return AnswerWith(await calibration.MergeAsync(found, moments, call.Scope, others, headers.Terms, call.Ended));
    }

    /// <summary>Take the gathered statistics over</summary>
    /// <remarks>
    /// Replaces the running statistics by what was gathered: the mean, the variance (M2/(n-1), or M2/n where `unbiased_running_var` is
    /// false) and the number of batches. Gathering then starts anew.
    /// </remarks>
    internal static async Task<IResult> Commit([AsParameters] SessionCall call, ChangeHeaders headers, Calibration calibration)
    {
        var result = await calibration.CommitAsync(await call.GetAsync(), headers.Terms, call.Ended);
        var statistics = new RunningStatsResponse
        {
            RunningMean = result.Replay.Mean!,
            RunningVar = result.Replay.Variance!,
            NumBatchesTracked = result.Replay.BatchesTracked,
            Version = result.Replay.Version,
        };
        return new Answer<RunningStatsResponse>(statistics, statistics.Version) { IsReplayed = result.IsReplayed };
    }

    /// <summary>Forget the gathered statistics</summary>
    /// <remarks>
    /// Forgets what was gathered and not committed; the running statistics stay. Nothing changes where nothing was gathered.
    /// </remarks>
    internal static async Task<IResult> Drop(
        [AsParameters] SessionCall call, ChangeHeaders headers, Calibration calibration, HttpResponse response)
    {
        var dropped = await calibration.DropAsync(await call.GetAsync(), headers.Terms, call.Ended);
        response.Headers.ETag = Precondition.Tag(dropped.Replay.Version);
        if (dropped.IsReplayed) response.Headers[IdempotencyKey.ReplayedHeader] = "true";
        return TypedResults.NoContent();
    }

    private static Answer<PopulationResponse> AnswerWith(PopulationResult result)
    {
        var gathered = new PopulationResponse
        {
            Batches = result.Replay.Batches,
            Count = result.Replay.Count,
            Mean = result.Replay.Mean,
            Var = result.Replay.Variance,
            Version = result.Replay.Version,
            Warnings = DiagnosticsEndpoints.Warnings(result.Rounding),
        };
        return new(gathered, result.Replay.Version) { IsReplayed = result.IsReplayed, Rounding = result.Rounding };
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
