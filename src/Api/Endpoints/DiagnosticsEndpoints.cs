using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Endpoints;

/// <summary>What the state of a session and its traffic say of each other, and its last steps.</summary>
internal static class DiagnosticsEndpoints
{
    private const int DefaultSteps = 100;

    private const string AboutDiagnostics =
        "Whether the running estimate has settled and how noisy it is, how far training and serving drift from it and from each "
        + "other, how much a batch scatters by chance, and findings with remedies. Inference traffic is looked at in passing: batches "
        + "of at least 8 values per statistic; of those up to 65,536 elements each one, as long as they are not more than 50 a "
        + "second, and of larger ones (where they are streamed, the first samples) one a second. The last of them is this node's, or "
        + "after a restart the last that any node has stored (of up to 4,096 channels); in mode frozen the batches of train-steps are "
        + "looked at in the same way.";

    private const string AboutHistory =
        "A line per train-step, newest first: the last 1,024 that this node has answered, kept in its memory (about 256 kB per "
        + "session at most), after the last 128 of any node that were stored before the session came into its memory; and one per "
        + "inference batch that was looked at, the last 256 and 64. Nodes store them about once a second and when they stop: a "
        + "restart keeps them, a kill loses the last moment. What steps were in a channel is in memory alone, and everything is with "
        + "the engine memory. Drift is that of the batch against the running statistics, of a step's after it. With `channel` a step "
        + "says what it was there, as far back as 64 kB for all channels of the session reach: 1,024 steps of 4 channels, 16 of 256, "
        + "none of more than 4,096.";

    /// <summary>Maps the calls.</summary>
    public static void MapDiagnostics(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Diagnostics");
        group.MapGet("/diagnostics", Diagnose).Needs(Role.Reader).Answers<DiagnosticsResponse>().FindsSession()
            .Describe("GetDiagnostics", "Diagnose a session", AboutDiagnostics);
        group.MapGet("/history", History).Needs(Role.Reader).Answers<HistoryResponse>().FindsSession().Fails(ProblemCode.InvalidOption)
            .Describe("GetHistory", "The last train-steps", AboutHistory);
    }

    private static async Task<IResult> Diagnose([AsParameters] SessionCall call, TrafficHistory history)
    {
        var found = await call.GetAsync();
        await history.TryRestoreAsync(found, call.Ended);
        var (layer, inference) = (found.Current.Layer, found.Traffic.Inference);
        var diagnosis = Diagnosis.Of(layer, inference?.Statistics, found.Traffic.Frozen?.Statistics);
        return new Answer<DiagnosticsResponse>(Response(layer, diagnosis, inference), layer.Version);
    }

    private static async Task<IResult> History([AsParameters] SessionCall call, string? limit, string? channel, TrafficHistory history)
    {
        var size = (int)(QueryNumber.Parse(limit, "limit", 1, SessionTraffic.MostSteps) ?? DefaultSteps);
        var found = await call.GetAsync();
        await history.TryRestoreAsync(found, call.Ended);
        var layer = found.Current.Layer;
        var index = (int?)QueryNumber.Parse(channel, "channel", 0, Math.Max(layer.Features, 1) - 1);
        return new Answer<HistoryResponse>(new HistoryResponse
        {
            Steps = [.. found.Traffic.Newest(size).Select(step => Line(step, index))],
            Inferences = [.. found.Traffic.NewestInferences(size).Select(Line)],
            Version = layer.Version,
        }, layer.Version);
    }

    /// <summary>The header of an answer that names its warnings.</summary>
    internal const string WarningsHeader = "Bn-Warnings";

    /// <summary>The warnings of an answer that has one at most; null for none.</summary>
    internal static IReadOnlyList<FindingReport>? Warnings(Finding? finding) => finding is null ? null : [Report(finding)];

    /// <summary>A finding in the contract's terms.</summary>
    internal static FindingReport Report(Finding finding) => new()
    {
        Code = finding.Code,
        Detail = finding.Detail,
        Remedy = finding.Remedy,
        Numbers = finding.Numbers,
        Channels = finding.Channels,
    };

    /// <summary>Drift in the contract's terms.</summary>
    internal static DriftReport? Report(Drift? drift) =>
        drift is null ? null : new DriftReport
        {
            Channel = drift.Channel,
            KlDivergence = drift.Divergence,
            MeanShift = drift.MeanShift,
            DeviationRatio = drift.DeviationRatio,
            Drifting = drift.IsRelevant,
            PValue = drift.PValue,
        };

    /// <summary>Health in the contract's terms.</summary>
    internal static HealthReport Report(LayerHealth health) => new() { Mark = health.Mark, Reason = health.Reason };

    private static DiagnosticsResponse Response(LayerState layer, Diagnosis diagnosis, ObservedBatch? inference) => new()
    {
        NumBatchesTracked = layer.Running?.BatchesTracked ?? 0,
        Version = layer.Version,
        Health = Report(LayerHealth.Of(diagnosis)),
        Convergence = diagnosis.Convergence is { } convergence ? Report(convergence, diagnosis, layer.SeenBatches) : null,
        Drift = new TrafficDriftReport
        {
            Train = Report(diagnosis.TrainDrift),
            Inference = Report(diagnosis.InferenceDrift),
            InferenceBatch = inference is null ? null : new ObservedBatchReport { Count = inference.Statistics.Count, At = inference.At },
            Skew = diagnosis.Skew is { } skew ? new SkewReport { KlDifference = skew.Difference, Largest = Report(skew.Channel) } : null,
        },
        BatchNoise = layer.LastBatch is { } last
            ? new BatchNoiseReport
            {
                Count = last.Count,
                RelativeSdOfVar = BatchNoise.OfVariance(last.Count),
                SdOfMean = Report(diagnosis.BatchMeanNoise),
            }
            : null,
        Findings = [.. diagnosis.Findings.Select(Report)],
    };

    private static ConvergenceReport Report(Convergence convergence, Diagnosis diagnosis, long seenBatches) => new()
    {
        InitialWeight = convergence.InitialWeight,
        EffectiveBatches = convergence.EffectiveBatches,
        Settled = convergence.IsSettled,
        MeanNoise = Report(diagnosis.MeanNoise),
        Gap = diagnosis.Gap is { } gap
            ? new GapReport { Mean = Report(gap.Mean), Var = Report(gap.Variance), Count = gap.Count, Batches = seenBatches }
            : null,
    };

    private static LargestReport? Report(Largest? largest) =>
        largest is null ? null : new LargestReport { Channel = largest.Channel, Value = largest.Value };

    /// <summary>A step in the contract's terms.</summary>
    internal static HistoryLine Line(StepLine line, int? channel)
    {
        var step = line.Seen();
        return new()
        {
            Version = step.Version,
            NumBatchesTracked = step.BatchesTracked,
            At = step.At,
            Count = step.Count,
            Drift = Report(step.Drift),
            Warnings = step.Warnings,
            Shift = step.Shift is { } shift
                ? new BatchShiftReport { Rms = shift.Rms, Largest = Report(shift.Largest)!, VarRatio = shift.VarianceRatio }
                : null,
            Milliseconds = step.Elapsed?.TotalMilliseconds,
            Channel = channel is { } index && step.Moments?.Channel(index) is { } values
                ? new ChannelStepReport
                {
                    BatchMean = values.BatchMean,
                    BatchVar = values.BatchVariance,
                    RunningMean = values.RunningMean,
                    RunningVar = values.RunningVariance,
                }
                : null,
        };
    }

    /// <summary>An inference batch in the contract's terms.</summary>
    internal static InferenceHistoryLine Line(InferenceLine inference) =>
        new() { At = inference.At, Count = inference.Count, Drift = Report(inference.Drift) };
}
