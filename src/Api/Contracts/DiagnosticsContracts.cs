using System.Text.Json.Serialization;

namespace BnService.Api.Contracts;

/// <summary>Something that is allowed but seldom meant, with the numbers that show it.</summary>
public sealed class FindingReport
{
    /// <summary>
    /// Stable name: precision-lost, small-batch, constant-channels, drift, inference-drift, train-serve-skew, not-settled, \
    /// noisy-running-mean,
    /// estimate-gap, momentum-convention, zero-running-variance, dead-channels, frozen-mean-mismatch, non-finite-batch, \
    /// non-finite-statistics.
    /// </summary>
    public required string Code { get; init; }

    /// <summary>What was seen.</summary>
    public required string Detail { get; init; }

    /// <summary>What to do about it.</summary>
    public required string Remedy { get; init; }

    /// <summary>The numbers behind it, by name; channels is the number of statistics that it concerns.</summary>
    public required IReadOnlyDictionary<string, double> Numbers { get; init; }

    /// <summary>The first few of the statistics that it concerns; absent where it concerns the session as a whole.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int[]? Channels { get; init; }
}

/// <summary>What the state of a session and its traffic say of each other.</summary>
public sealed class DiagnosticsResponse
{
    /// <summary>Number of batches that moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }

    /// <summary>How the session is, in one word, and why.</summary>
    public required HealthReport Health { get; init; }

    /// <summary>Whether the running statistics have settled, and on what; null where none are tracked.</summary>
    public required ConvergenceReport? Convergence { get; init; }

    /// <summary>How far train batches and inference traffic lie from the running statistics, each for itself.</summary>
    public required TrafficDriftReport Drift { get; init; }

    /// <summary>How much a batch as large as the last one scatters by chance; null before the first batch.</summary>
    public required BatchNoiseReport? BatchNoise { get; init; }

    /// <summary>What is allowed but seldom meant; empty where nothing is found.</summary>
    public required IReadOnlyList<FindingReport> Findings { get; init; }
}

/// <summary>A value of one statistic: the largest of all.</summary>
public sealed class LargestReport
{
    /// <summary>Index of the statistic.</summary>
    public required int Channel { get; init; }

    /// <summary>The value.</summary>
    public required double Value { get; init; }
}

/// <summary>Whether the running statistics have settled, and on what.</summary>
public sealed class ConvergenceReport
{
    /// <summary>
    /// What is left of the initial values: (1-momentum)^num_batches_tracked; 0 where the statistics were replaced as a whole, and with
    /// zero_debias from the first batch on.
    /// </summary>
    public required double InitialWeight { get; init; }

    /// <summary>
    /// Number of batches that the moving average rests on once settled: (2-momentum)/momentum; with zero_debias the number that it rests on
    /// now.
    /// </summary>
    public required double EffectiveBatches { get; init; }

    /// <summary>Whether less than 1 % of the initial values is left.</summary>
    public required bool Settled { get; init; }

    /// <summary>
    /// Standard deviation of the running mean, sigma*sqrt(momentum/(2-momentum))/sqrt(m), where it is largest; sigma is the running one, \
    /// m the last batch's count. Null before the first batch.
    /// </summary>
    public required LargestReport? MeanNoise { get; init; }

    /// <summary>How far the running statistics lie from the exact union of all batches that moved them; null before the first.</summary>
    public required GapReport? Gap { get; init; }
}

/// <summary>The gap of the running statistics to the exact union of all batches.</summary>
public sealed class GapReport
{
    /// <summary>Largest difference of the means, in standard deviations of the union; null where every statistic is constant.</summary>
    public required LargestReport? Mean { get; init; }

    /// <summary>Largest difference of the variances relative to the union's; null where every statistic is constant.</summary>
    public required LargestReport? Var { get; init; }

    /// <summary>Number of values per statistic in the union.</summary>
    public required long Count { get; init; }

    /// <summary>Number of batches in the union; those with NaN or infinities are left out.</summary>
    public required long Batches { get; init; }
}

/// <summary>Drift of training and of serving.</summary>
public sealed class TrafficDriftReport
{
    /// <summary>Drift of the last train batch; null before the first.</summary>
    public required DriftReport? Train { get; init; }

    /// <summary>Drift of the last inference batch that was looked at; null before the first.</summary>
    public required DriftReport? Inference { get; init; }

    /// <summary>The inference batch that was looked at; null before the first.</summary>
    public required ObservedBatchReport? InferenceBatch { get; init; }

    /// <summary>Train-serve skew, the difference of the two; null without both.</summary>
    public required SkewReport? Skew { get; init; }
}

/// <summary>A batch that was looked at in passing.</summary>
public sealed class ObservedBatchReport
{
    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }

    /// <summary>When it was inferred.</summary>
    public required DateTimeOffset At { get; init; }
}

/// <summary>The difference between the drift of serving and that of training.</summary>
public sealed class SkewReport
{
    /// <summary>kl_divergence of inference less that of train, in nats.</summary>
    public required double KlDifference { get; init; }

    /// <summary>
    /// The statistic where the divergence of serving exceeds that of training most, and by how much; null where none is finite.
    /// </summary>
    public required LargestReport? Largest { get; init; }
}

/// <summary>How much the statistics of a batch scatter by chance.</summary>
public sealed class BatchNoiseReport
{
    /// <summary>m, the number of values per statistic of the last batch.</summary>
    public required long Count { get; init; }

    /// <summary>Relative standard deviation of the batch variance, sqrt(2(m-1))/m.</summary>
    public required double RelativeSdOfVar { get; init; }

    /// <summary>
    /// Standard deviation of the batch mean, sigma/sqrt(m), where it is largest; sigma is the running one, or the batch's where none is \
    /// tracked.
    /// </summary>
    public required LargestReport? SdOfMean { get; init; }
}

/// <summary>The last train-steps, newest first.</summary>
public sealed class HistoryResponse
{
    /// <summary>
    /// A line per train-step that this node has answered, at most the last 1024, and per step of any node that was stored before that.
    /// </summary>
    public required IReadOnlyList<HistoryLine> Steps { get; init; }

    /// <summary>
    /// A line per inference batch that this node has looked at, newest first, at most the last 256, and per one that any node has stored \
    /// before that.
    /// </summary>
    public required IReadOnlyList<InferenceHistoryLine> Inferences { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }
}

/// <summary>One train-step.</summary>
public sealed class HistoryLine
{
    /// <summary>Version of the state after the step.</summary>
    public required long Version { get; init; }

    /// <summary>Number of batches that had moved the running statistics after the step.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>When the step was answered.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }

    /// <summary>
    /// Drift of the batch against the running statistics after the step; null where none are tracked, or the batch's moments were not \
    /// taken (mode frozen).
    /// </summary>
    public required DriftReport? Drift { get; init; }

    /// <summary>Codes of the warnings that the step was answered with.</summary>
    public required IReadOnlyList<string> Warnings { get; init; }

    /// <summary>
    /// Where the batch lies against the running statistics after the step, over all channels; null where drift is, and where no channel's \
    /// shift is finite.
    /// </summary>
    public required BatchShiftReport? Shift { get; init; }

    /// <summary>Milliseconds from the batch's arrival until the step was stored; null where it waited for other ranks.</summary>
    public required double? Milliseconds { get; init; }

    /// <summary>
    /// What the step was in the channel that was asked for; absent where none was asked for, or where it is no longer kept, as after a \
    /// restart.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ChannelStepReport? Channel { get; init; }
}

/// <summary>Where a batch lies against the running statistics, over all channels.</summary>
public sealed class BatchShiftReport
{
    /// <summary>Root mean square of (batch mean - running mean) / running standard deviation.</summary>
    public required double Rms { get; init; }

    /// <summary>The largest of these, without its sign.</summary>
    public required LargestReport Largest { get; init; }

    /// <summary>Mean of batch variance / running variance.</summary>
    public required double VarRatio { get; init; }
}

/// <summary>What a train-step was in one channel, to the precision of float32.</summary>
public sealed class ChannelStepReport
{
    /// <summary>Mean of the batch.</summary>
    public required double BatchMean { get; init; }

    /// <summary>Biased variance of the batch.</summary>
    public required double BatchVar { get; init; }

    /// <summary>Running mean after the step.</summary>
    public required double RunningMean { get; init; }

    /// <summary>Running variance after the step.</summary>
    public required double RunningVar { get; init; }
}

/// <summary>One inference batch that was looked at.</summary>
public sealed class InferenceHistoryLine
{
    /// <summary>When it was inferred.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }

    /// <summary>Drift of the batch against the running statistics of then; null where none are tracked.</summary>
    public required DriftReport? Drift { get; init; }
}

/// <summary>A session's state has changed otherwise than by a train-step of this node.</summary>
public sealed class StateEvent
{
    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }

    /// <summary>Number of batches that moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }
}

/// <summary>Sessions that have moved.</summary>
public sealed class ActivityEvent
{
    /// <summary>Ids of the sessions that have been created, changed or deleted, or that a batch has passed through.</summary>
    public required IReadOnlyList<string> Sessions { get; init; }
}
