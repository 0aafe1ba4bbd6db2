namespace BnService.Client;

/// <summary>What a session knows; what was not asked for is null.</summary>
public sealed record SessionStats
{
    /// <summary>Number of batches that moved the running statistics.</summary>
    public long? NumBatchesTracked { get; init; }

    /// <summary>Running mean, one value per statistic; null where none is tracked.</summary>
    public IReadOnlyList<double>? RunningMean { get; init; }

    /// <summary>Running variance, one value per statistic; null where none is tracked.</summary>
    public IReadOnlyList<double>? RunningVar { get; init; }

    /// <summary>gamma; null where the session has none.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta; null where the session has none.</summary>
    public IReadOnlyList<double>? Beta { get; init; }

    /// <summary>The last batch that moved the session; null before the first.</summary>
    public BatchStatistics? LastBatch { get; init; }

    /// <summary>Whether the running statistics have settled; null where none are tracked.</summary>
    public StatsDiagnostics? Diagnostics { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }
}

/// <summary>Statistics of one batch, one value per statistic.</summary>
/// <param name="Mean">Mean.</param>
/// <param name="Var">Biased variance.</param>
/// <param name="Count">Number of values per statistic.</param>
public sealed record BatchStatistics(IReadOnlyList<double> Mean, IReadOnlyList<double> Var, long Count);

/// <summary>The state of the running statistics.</summary>
/// <param name="InitialWeight">What is left of the initial values in the moving average.</param>
/// <param name="EffectiveBatches">Number of batches that the moving average rests on once settled.</param>
/// <param name="Settled">Whether less than 1 % of the initial values is left.</param>
/// <param name="Drift">How far the last batch lies from the running statistics; null before the first.</param>
public sealed record StatsDiagnostics(double InitialWeight, double EffectiveBatches, bool Settled, Drift? Drift);

/// <summary>Divergence of a batch from the running statistics, for the channel where it is largest.</summary>
/// <param name="Channel">Index of the statistic.</param>
/// <param name="KlDivergence">Kullback-Leibler divergence of two Gaussians, in nats.</param>
/// <param name="PValue">About the probability of so much divergence if nothing had changed.</param>
/// <param name="MeanShift">How far the channel's mean is off, in running standard deviations.</param>
/// <param name="DeviationRatio">The channel's standard deviation, relative to the running one.</param>
/// <param name="Drifting">Whether that is as much as matters (0.25 nats), and not by chance (a p-value below 0.001).</param>
public sealed record Drift(int Channel, double KlDivergence, double PValue, double MeanShift = 0, double DeviationRatio = 1, bool Drifting = false);

/// <summary>How a session is, in one word, and why.</summary>
/// <param name="Mark">healthy, settling, small_batches, drifting or dead_channels: the worst that was found.</param>
/// <param name="Reason">What was seen.</param>
public sealed record SessionHealth(string Mark, string Reason);

/// <summary>Something that is allowed but seldom meant, with the numbers that show it.</summary>
/// <param name="Code">Stable name, as small-batch or train-serve-skew.</param>
/// <param name="Detail">What was seen.</param>
/// <param name="Remedy">What to do about it.</param>
/// <param name="Numbers">The numbers behind it, by name.</param>
/// <param name="Channels">The first few of the statistics that it concerns; null where it concerns the session as a whole.</param>
public sealed record Finding(string Code, string Detail, string Remedy, IReadOnlyDictionary<string, double> Numbers, IReadOnlyList<int>? Channels = null);

/// <summary>What the state of a session and its traffic say of each other.</summary>
/// <param name="NumBatchesTracked">Number of batches that moved the running statistics.</param>
/// <param name="Version">Version of the state.</param>
/// <param name="Convergence">Whether the running statistics have settled, and on what; null where none are tracked.</param>
/// <param name="Drift">How far train batches and inference traffic lie from the running statistics.</param>
/// <param name="BatchNoise">How much a batch as large as the last one scatters by chance; null before the first batch.</param>
/// <param name="Findings">What is allowed but seldom meant.</param>
/// <param name="Health">How the session is; null from a service that does not say it yet.</param>
public sealed record SessionDiagnostics(
    long NumBatchesTracked, long Version, Convergence? Convergence, TrafficDrift Drift, BatchNoise? BatchNoise, IReadOnlyList<Finding> Findings,
    SessionHealth? Health = null);

/// <summary>A value of one statistic: the largest of all.</summary>
/// <param name="Channel">Index of the statistic.</param>
/// <param name="Value">The value.</param>
public sealed record LargestValue(int Channel, double Value);

/// <summary>Whether the running statistics have settled, and on what.</summary>
/// <param name="InitialWeight">What is left of the initial values.</param>
/// <param name="EffectiveBatches">Number of batches that the moving average rests on once settled.</param>
/// <param name="Settled">Whether less than 1 % of the initial values is left.</param>
/// <param name="MeanNoise">Standard deviation of the running mean, where it is largest; null before the first batch.</param>
/// <param name="Gap">How far the running statistics lie from the exact union of all batches; null before the first.</param>
public sealed record Convergence(double InitialWeight, double EffectiveBatches, bool Settled, LargestValue? MeanNoise, EstimateGap? Gap);

/// <summary>The gap of the running statistics to the exact union of all batches.</summary>
/// <param name="Mean">Largest difference of the means, in standard deviations of the union; null where every statistic is constant.</param>
/// <param name="Var">Largest difference of the variances relative to the union's; null where every statistic is constant.</param>
/// <param name="Count">Number of values per statistic in the union.</param>
/// <param name="Batches">Number of batches in the union.</param>
public sealed record EstimateGap(LargestValue? Mean, LargestValue? Var, long Count, long Batches);

/// <summary>Drift of training and of serving.</summary>
/// <param name="Train">Drift of the last train batch; null before the first.</param>
/// <param name="Inference">Drift of the last inference batch that was looked at; null before the first.</param>
/// <param name="InferenceBatch">The inference batch that was looked at; null before the first.</param>
/// <param name="Skew">The difference of the two; null without both.</param>
public sealed record TrafficDrift(Drift? Train, Drift? Inference, ObservedBatch? InferenceBatch, TrainServeSkew? Skew);

/// <summary>A batch that was looked at in passing.</summary>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="At">When it was inferred.</param>
public sealed record ObservedBatch(long Count, DateTimeOffset At);

/// <summary>The difference between the drift of serving and that of training.</summary>
/// <param name="KlDifference">Divergence of inference less that of train, in nats.</param>
/// <param name="Largest">The statistic where serving exceeds training most, and by how much; null where none is finite.</param>
public sealed record TrainServeSkew(double KlDifference, LargestValue? Largest);

/// <summary>How much the statistics of a batch scatter by chance.</summary>
/// <param name="Count">Number of values per statistic of the last batch.</param>
/// <param name="RelativeSdOfVar">Relative standard deviation of the batch variance.</param>
/// <param name="SdOfMean">Standard deviation of the batch mean, where it is largest.</param>
public sealed record BatchNoise(long Count, double RelativeSdOfVar, LargestValue? SdOfMean);

/// <summary>One train-step of a session's history.</summary>
/// <param name="Version">Version of the state after the step.</param>
/// <param name="NumBatchesTracked">Number of batches that had moved the running statistics after the step.</param>
/// <param name="At">When the step was answered.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="Drift">Drift of the batch; null where none are tracked, or the batch's moments were not taken.</param>
/// <param name="Warnings">Codes of the warnings that the step was answered with.</param>
public sealed record HistoryLine(long Version, long NumBatchesTracked, DateTimeOffset At, long Count, Drift? Drift, IReadOnlyList<string> Warnings);

/// <summary>The last train-steps.</summary>
internal sealed record HistoryList(IReadOnlyList<HistoryLine> Steps);

/// <summary>Running statistics.</summary>
/// <param name="RunningMean">Running mean, one value per statistic.</param>
/// <param name="RunningVar">Running variance, one value per statistic.</param>
/// <param name="NumBatchesTracked">Number of batches that went into them.</param>
/// <param name="Version">Version of the state.</param>
public sealed record RunningStatistics(IReadOnlyList<double> RunningMean, IReadOnlyList<double> RunningVar, long NumBatchesTracked, long Version);

/// <summary>gamma and beta.</summary>
/// <param name="Gamma">gamma; null where the session has none.</param>
/// <param name="Beta">beta; null where the session has none.</param>
/// <param name="Version">Version of the state.</param>
public sealed record Parameters(IReadOnlyList<double>? Gamma, IReadOnlyList<double>? Beta, long Version);

/// <summary>What calibration and merge have gathered and not committed yet.</summary>
/// <param name="Batches">Number of batches.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="Mean">Mean, one value per statistic; null without values.</param>
/// <param name="Var">Variance as commit would take it over, unbiased or not as the session's running variance is, one value per statistic; null below 2 values.</param>
/// <param name="Version">Version of the state.</param>
public sealed record PopulationStatistics(long Batches, long Count, IReadOnlyList<double>? Mean, IReadOnlyList<double>? Var, long Version)
{
    /// <summary>precision-lost where float32 could not tell the values of the batch apart; mostly none.</summary>
    public IReadOnlyList<Finding> Warnings { get; init; } = [];
}

/// <summary>Statistics gathered elsewhere.</summary>
/// <param name="Count">Number of values per statistic, 1 or more.</param>
/// <param name="Mean">Mean, one value per statistic.</param>
/// <param name="M2">Sum of the squared deviations from the mean, one value per statistic.</param>
public sealed record Moments(long Count, IReadOnlyList<double> Mean, IReadOnlyList<double> M2);
