using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;

namespace BnService.Api.Contracts;

/// <summary>An answer of which the caller can ask for some fields only.</summary>
public interface IPartialAnswer
{
    /// <summary>Whether a field, by its name in JSON, is to be written.</summary>
    bool Includes(string field);
}

/// <summary>What a session knows. With include only what was asked for, and the version.</summary>
public sealed class StatsResponse : IPartialAnswer
{
    /// <summary>Names of the fields to write, or null for all.</summary>
    [JsonIgnore]
    public IReadOnlyCollection<string>? Included { get; init; }

    /// <inheritdoc/>
    public bool Includes(string field) => Included is null || field == "version" || Included.Contains(field);

    /// <summary>Number of batches that moved the running statistics.</summary>
    public long NumBatchesTracked { get; init; }

    /// <summary>Running mean, one value per statistic; null where none is tracked.</summary>
    public double[]? RunningMean { get; init; }

    /// <summary>Running variance, one value per statistic; null where none is tracked.</summary>
    public double[]? RunningVar { get; init; }

    /// <summary>gamma; null where the session has none.</summary>
    public double[]? Gamma { get; init; }

    /// <summary>beta; null where the session has none.</summary>
    public double[]? Beta { get; init; }

    /// <summary>The last batch that moved the session; null before the first.</summary>
    public BatchStatistics? LastBatch { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }

    /// <summary>
    /// Whether the running statistics have settled, and how far the last batch lies from them; null where none are tracked.
    /// </summary>
    public Diagnostics? Diagnostics { get; init; }
}

/// <summary>Statistics of one batch, one value per statistic.</summary>
public sealed class BatchStatistics
{
    /// <summary>Mean.</summary>
    public required double[] Mean { get; init; }

    /// <summary>Biased variance.</summary>
    public required double[] Var { get; init; }

    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }
}

/// <summary>The state of the running statistics.</summary>
public sealed class Diagnostics
{
    /// <summary>
    /// What is left of the initial values in the moving average: (1-momentum)^num_batches_tracked; with zero_debias 1 before the first \
    /// batch
    /// and then 0.
    /// </summary>
    public required double InitialWeight { get; init; }

    /// <summary>
    /// Number of batches that the moving average rests on once settled: (2-momentum)/momentum; with zero_debias the number that it rests on
    /// now.
    /// </summary>
    public required double EffectiveBatches { get; init; }

    /// <summary>Whether less than 1 % of the initial values is left.</summary>
    public required bool Settled { get; init; }

    /// <summary>How far the last batch lies from the running statistics; null before the first batch.</summary>
    public required DriftReport? Drift { get; init; }
}

/// <summary>Divergence of the last batch from the running statistics, for the channel where it is largest.</summary>
public sealed class DriftReport
{
    /// <summary>Index of the statistic.</summary>
    public required int Channel { get; init; }

    /// <summary>Kullback-Leibler divergence of two Gaussians, ½[ln(σr²/σb²) + (σb² + (μb−μr)²)/σr² − 1], in nats.</summary>
    public required double KlDivergence { get; init; }

    /// <summary>How far the channel's mean is off, in running standard deviations.</summary>
    public required double MeanShift { get; init; }

    /// <summary>The channel's standard deviation, relative to the running one.</summary>
    public required double DeviationRatio { get; init; }

    /// <summary>
    /// Whether the effect is large and no accident: kl_divergence is 0.25 nats or more, and p_value below 0.001. Where a sample has several
    /// positions, p_value is taken for one value per sample here, since the positions of one sample are alike.
    /// </summary>
    public required bool Drifting { get; init; }

    /// <summary>
    /// About the probability of so much divergence in any of C channels of m values if nothing had changed: C·exp(−m·kl_divergence).
    /// </summary>
    public required double PValue { get; init; }
}

/// <summary>New parameters; what is absent stays.</summary>
public sealed class PutParametersRequest
{
    /// <summary>gamma, one finite value per statistic.</summary>
    public double[]? Gamma { get; set; }

    /// <summary>beta, one finite value per statistic.</summary>
    public double[]? Beta { get; set; }
}

/// <summary>The parameters.</summary>
public sealed class ParametersResponse
{
    /// <summary>gamma; null where the session has none.</summary>
    public required double[]? Gamma { get; init; }

    /// <summary>beta; null where the session has none.</summary>
    public required double[]? Beta { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }
}

/// <summary>New running statistics; what is absent stays.</summary>
public sealed class PutRunningStatsRequest
{
    /// <summary>Running mean, one finite value per statistic.</summary>
    public double[]? RunningMean { get; set; }

    /// <summary>Running variance, one finite value of 0 or more per statistic, of the kind that unbiased_running_var says.</summary>
    public double[]? RunningVar { get; set; }

    /// <summary>Number of batches, 0 or more.</summary>
    public long? NumBatchesTracked { get; set; }
}

/// <summary>The running statistics.</summary>
public sealed class RunningStatsResponse
{
    /// <summary>Running mean, one value per statistic.</summary>
    public required double[] RunningMean { get; init; }

    /// <summary>Running variance, one value per statistic.</summary>
    public required double[] RunningVar { get; init; }

    /// <summary>Number of batches that went into them.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }
}

/// <summary>The service's health.</summary>
public sealed class HealthResponse
{
    /// <summary>healthy or unhealthy.</summary>
    public required string Status { get; init; }
}

/// <summary>The statistics of the last batch.</summary>
public sealed class LastBatchState
{
    /// <summary>Mean, one value per statistic.</summary>
    [Required]
    public double[] Mean { get; set; } = null!;

    /// <summary>Biased variance, one value per statistic.</summary>
    [Required]
    public double[] Var { get; set; } = null!;

    /// <summary>Number of values per statistic.</summary>
    [Required]
    public long Count { get; set; }
}
