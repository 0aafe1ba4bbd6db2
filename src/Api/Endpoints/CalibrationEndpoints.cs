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
    /// <summary>Maps the calls.</summary>
    public static void MapCalibration(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Calibration");
        group.MapPost("/calibration/batches", AddBatch).Needs(Role.Trainer).Reads<CalibrationBatchRequest>(MediaTypes.Tensors).Answers<PopulationResponse>(forms: MediaTypes.Named).FindsSession().ChangesState().RemembersAnswer()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("AddCalibrationBatch", "Gather a batch's statistics", "Adds a batch to the exact statistics of a data set (the population statistics of the paper, precise batch norm): batches of any sizes in any order give the same numbers as the whole in one piece. The running statistics stay until commit. An empty batch moves nothing.");
        group.MapPost("/merge", Merge).Needs(Role.Trainer).Reads<MergeRequest>(MediaTypes.Named).Answers<PopulationResponse>(forms: MediaTypes.Named).FindsSession().ChangesState().RemembersAnswer()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.NoRunningStatistics)
            .Describe("MergeStatistics", "Merge statistics gathered elsewhere", "Adds `moments` computed elsewhere and what other `sessions` have gathered to what this session gathers, all or none, as if their batches had been calibration batches. A session without a population estimate gives the exact union of all finite batches that have moved its running statistics.");
        group.MapPost("/calibration/commit", Commit).Needs(Role.Trainer).Answers<RunningStatsResponse>(forms: MediaTypes.Named).FindsSession().ChangesState().RemembersAnswer()
            .Fails(ProblemCode.BatchTooSmall, ProblemCode.InvalidOption, ProblemCode.LimitReached, ProblemCode.NoRunningStatistics)
            .Describe("CommitCalibration", "Take the gathered statistics over", "Replaces the running statistics by what was gathered: the mean, the variance (M2/(n-1), or M2/n where `unbiased_running_var` is false) and the number of batches. Gathering then starts anew.");
        group.MapDelete("/calibration", Drop).Needs(Role.Trainer).Answers(204).FindsSession().ChangesState().RemembersAnswer()
            .Describe("DropCalibration", "Forget the gathered statistics", "Forgets what was gathered and not committed; the running statistics stay. Nothing changes where nothing was gathered.");
    }

    private static async Task<IResult> AddBatch(
        string session, Incoming<CalibrationBatchRequest> body, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, Calibration calibration,
        CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var options = found.Current.Layer.Options;
        var digits = body.Digits(options, usesBatch: true, request => request.X);
        var request = await body.ReadAsync(digits, options.Precision, keepsText: digits is not null);
        return AnswerWith(await calibration.AddAsync(found, request.X, request.Mask, digits, headers.Terms, cancellationToken));
    }

    private static async Task<IResult> Merge(
        string session, Body<MergeRequest> body, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, Calibration calibration,
        CancellationToken cancellationToken)
    {
        var (entries, others) = (body.Value.AllMoments(), body.Value.Sessions ?? []);
        if (entries.Length + others.Length == 0) throw Invalid("send moments, sessions or both, and not both empty");
        if (Array.IndexOf(others, null) is var absent and >= 0) throw Invalid($"sessions[{absent}] must be the name or id of a session, got null");
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var layer = found.Current.Layer;
        layer.RequirePopulation();
        // One statistic per position: where nothing has fixed the number of positions, the first entry does.
        var first = entries.Length > 0 ? entries[0].Mean.Length : 0;
        var features = layer.FeaturesAreFixed || first == 0 || first % layer.Features != 0 ? layer.Features : first;
        var moments = entries.Select((entry, index) => entry.ToMoments($"moments[{index}]", features)).ToList();
        return AnswerWith(await calibration.MergeAsync(found, moments, scope, others, headers.Terms, cancellationToken));
    }

    private static async Task<IResult> Commit(
        string session, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, Calibration calibration, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var result = await calibration.CommitAsync(found, headers.Terms, cancellationToken);
        var (version, statistics) = (result.Answer.Version, new RunningStatsResponse
        {
            RunningMean = result.Mean!,
            RunningVar = result.Variance!,
            NumBatchesTracked = result.Answer.BatchesTracked,
            Version = result.Answer.Version,
        });
        return new Answer<RunningStatsResponse>(statistics, version) { IsReplayed = result.IsReplayed };
    }

    private static async Task<IResult> Drop(
        string session, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, Calibration calibration, HttpResponse response,
        CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var dropped = await calibration.DropAsync(found, headers.Terms, cancellationToken);
        response.Headers.ETag = Precondition.Tag(dropped.Answer.Version);
        if (dropped.IsReplayed) response.Headers[IdempotencyKey.ReplayedHeader] = "true";
        return TypedResults.NoContent();
    }

    private static Answer<PopulationResponse> AnswerWith(PopulationResult result)
    {
        var gathered = new PopulationResponse
        {
            Batches = result.Answer.Batches,
            Count = result.Answer.Count,
            Mean = result.Mean,
            Var = result.Variance,
            Version = result.Answer.Version,
            Warnings = DiagnosticsEndpoints.Warnings(result.Rounding),
        };
        return new Answer<PopulationResponse>(gathered, result.Answer.Version) { IsReplayed = result.IsReplayed, Rounding = result.Rounding };
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
