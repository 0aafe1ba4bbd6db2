using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Layers;

/// <summary>How train batches and inference traffic lie apart: the difference of their divergences from the running statistics.</summary>
/// <param name="Difference">The largest divergence of the inference batch less that of the train batch, in nats.</param>
/// <param name="Channel">The channel where the difference is largest, and how large it is there; null where none is finite.</param>
public sealed record TrainServeSkew(double Difference, Largest? Channel);

/// <summary>What the state of a layer and its traffic say of each other.</summary>
public sealed record Diagnosis
{
    /// <summary>Whether the running statistics have forgotten where they started; null where none are tracked.</summary>
    public Convergence? Convergence { get; init; }

    /// <summary>
    /// Noise of the running mean, σ·√(α/(2 − α))/√m with the last batch's m, where it is largest; null before the first batch.
    /// </summary>
    public Largest? MeanNoise { get; init; }

    /// <summary>How far the running statistics lie from the exact union of all batches; null before the first.</summary>
    public EstimateGap? Gap { get; init; }

    /// <summary>Drift of the last train batch; null before the first.</summary>
    public Drift? TrainDrift { get; init; }

    /// <summary>Drift of the last inference batch that was looked at; null before the first.</summary>
    public Drift? InferenceDrift { get; init; }

    /// <summary>Train-serve skew; null without drift of both.</summary>
    public TrainServeSkew? Skew { get; init; }

    /// <summary>Standard deviation of the last batch's mean, σ/√m, where it is largest; null before the first batch.</summary>
    public Largest? BatchMeanNoise { get; init; }

    /// <summary>
    /// What is known of a layer whose statistics no batch can be compared with yet; null once there is one, and where none are tracked.
    /// </summary>
    public string? Unseen { get; init; }

    /// <summary>What is allowed but seldom meant.</summary>
    public required IReadOnlyList<Finding> Findings { get; init; }

    /// <summary>The diagnosis of a layer.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="inference">The last inference batch that was looked at, or null.</param>
    /// <param name="frozen">The last batch of a train-step in mode frozen that was looked at, or null.</param>
    public static Diagnosis Of(LayerState layer, LastBatch? inference, LastBatch? frozen)
    {
        ArgumentNullException.ThrowIfNull(layer);
        if (layer.Running is not { } running) return WithoutRunning(layer);
        var last = layer.LastBatch;
        (inference, frozen) = (Fitting(inference, running), Fitting(frozen, running));
        var convergence = Convergence.Of(layer.Options.Momentum, running);
        var (trainDrift, inferenceDrift) = (DriftOf(last, running), DriftOf(inference, running));
        var meanNoise = last is null ? null : NoiseOf(running.Variance, last.Count);
        var gap = layer.Seen is null ? null : EstimateGap.Of(running, layer.Seen, layer.Options.UnbiasedRunningVar);
        Finding?[] ofBatch = layer.NormalizesWithBatch && last is not null
            ?
            [
                LayerFindings.SmallBatch(last.Count), LayerFindings.ConstantChannels(last.Variance),
                // What was given as a whole is not the average of such batches, nor of those that were seen.
                running.AreGiven ? null : LayerFindings.NoisyRunningMean(convergence, last.Count),
                running.AreGiven ? null : LayerFindings.Gap(gap, convergence, last.Count),
                convergence.IsSettled ? LayerFindings.BatchDrift(trainDrift, last.Count) : null,
            ]
            : [layer.NormalizesWithBatch || (frozen ?? last) is not { } batch ? null : LayerFindings.FrozenMismatch(batch, running)];
        Finding?[] ofTraffic = convergence.IsSettled && inference is not null
            ? [LayerFindings.InferenceDrift(inferenceDrift, inference.Count), LayerFindings.TrainServeSkew(trainDrift, inferenceDrift)]
            : [];
        Finding?[] ofState =
        [
            LayerFindings.NotSettled(convergence, layer.Options.Momentum, running, last is null),
            LayerFindings.NonFiniteStatistics(running),
            LayerFindings.OldWeight(layer.Options.Momentum), LayerFindings.ZeroVariance(running),
            layer.EffectiveGamma is { } gamma ? LayerFindings.DeadChannels(gamma) : null,
        ];
        return new Diagnosis
        {
            Convergence = convergence,
            MeanNoise = meanNoise is null ? null : meanNoise with { Value = meanNoise.Value * convergence.RelativeNoise },
            Gap = gap,
            TrainDrift = trainDrift,
            InferenceDrift = inferenceDrift,
            Skew = trainDrift is null || inferenceDrift is null ? null : SkewOf(last!, trainDrift, inference!, inferenceDrift, running),
            BatchMeanNoise = meanNoise,
            Unseen = (last ?? inference ?? frozen) is null ? UnseenOf(running) : null,
            Findings = [.. ofState.Concat(ofBatch).Concat(ofTraffic).OfType<Finding>()],
        };
    }

    /// <summary>What the caller of a train-step should know about its batch.</summary>
    /// <param name="layer">The layer after the step.</param>
    /// <param name="batch">The batch that normalized it, or in mode frozen the one that was looked at; null where it was not.</param>
    /// <param name="usedBatch">Whether the batch normalized itself.</param>
    /// <param name="lost">What rounding the batch to float32 has done to its statistics; null for nothing.</param>
    public static IReadOnlyList<Finding> OfStep(LayerState layer, LastBatch? batch, bool usedBatch, LostPrecision? lost = null)
    {
        ArgumentNullException.ThrowIfNull(layer);
        if (batch is null or { Count: 0 }) return [];
        if (!usedBatch)
        {
            return layer.Running is { } frozen && Fitting(batch, frozen) is { } sample
                && LayerFindings.FrozenMismatch(sample, frozen) is { } mismatch
                ? [mismatch]
                : [];
        }
        Finding?[] findings =
        [
            LayerFindings.SmallBatch(batch.Count),
            LayerFindings.ConstantChannels(batch, lost?.Statistics == batch.Variance.Length ? lost : null),
            layer.Running is null ? null : LayerFindings.NonFiniteBatch(batch),
            layer.Running is { } running && Convergence.Of(layer.Options.Momentum, running).IsSettled
                ? LayerFindings.BatchDrift(DriftOf(batch, running), batch.Count)
                : null,
        ];
        return [.. findings.OfType<Finding>()];
    }

    /// <summary>What rounding a batch to float32 has spoilt; null for nothing.</summary>
    /// <param name="lost">What was rounded, or null.</param>
    /// <param name="mean">The mean of each statistic that normalizes the batch; null where none is subtracted.</param>
    /// <param name="variance">Their variance.</param>
    public static Finding? OfRounding(LostPrecision? lost, double[]? mean, double[] variance) =>
        lost is null || mean is null || lost.Statistics != mean.Length ? null : LayerFindings.PrecisionLost(mean, variance, lost);

    /// <summary>Drift of a batch against running statistics; null without a batch.</summary>
    /// <param name="batch">The batch, or null.</param>
    /// <param name="running">The running statistics.</param>
    public static Drift? DriftOf(LastBatch? batch, RunningStatistics running) =>
        Fitting(batch, running) is null or { Count: 0 } ? null
            : Drift.Of(batch!.Count, batch.Mean, batch.Variance, running, batch.Independent);

    // With a statistic per position, a batch may have passed before one of another size has fixed how many there are.
    private static LastBatch? Fitting(LastBatch? batch, RunningStatistics running) =>
        batch?.Mean.Length == running.Mean.Length ? batch : null;

    // Where statistics come from outside they are given, with a number of batches or none; a calibration counts its batches.
    private static string UnseenOf(RunningStatistics running) =>
        $"{(running is { AreGiven: true, BatchesTracked: > 0 } ? "calibrated" : "imported")}, no batch seen yet: "
        + "the first one shows whether the running statistics fit what passes through";

    private static Diagnosis WithoutRunning(LayerState layer)
    {
        var last = layer.NormalizesWithBatch ? layer.LastBatch : null;
        Finding?[] findings =
        [
            last is null ? null : LayerFindings.SmallBatch(last.Count),
            last is null ? null : LayerFindings.ConstantChannels(last.Variance),
            layer.EffectiveGamma is { } gamma ? LayerFindings.DeadChannels(gamma) : null,
        ];
        return new Diagnosis
        {
            BatchMeanNoise = last is null ? null : NoiseOf(last.Variance, last.Count),
            Findings = [.. findings.OfType<Finding>()],
        };
    }

    private static Largest? NoiseOf(double[] variance, long count) =>
        Largest.Of(variance.Length, c => BatchNoise.OfMean(variance[c], count));

    private static TrainServeSkew SkewOf(
        LastBatch train, Drift trainDrift, LastBatch inference, Drift inferenceDrift, RunningStatistics running) => new(
        inferenceDrift.Divergence - trainDrift.Divergence,
        Largest.Of(running.Mean.Length, c =>
            Drift.DivergenceOf(inference.Mean[c], inference.Variance[c], running, c) - Drift.DivergenceOf(train.Mean[c], train.Variance[c],
                running, c)));
}

/// <summary>How a layer is, in one word.</summary>
public enum Health
{
    /// <summary>Nothing speaks against serving from it.</summary>
    Healthy,

    /// <summary>Its running statistics still hold something of where they started, or are not yet what all batches together say.</summary>
    Settling,

    /// <summary>Its batches are so small that their statistics, or the average of them, scatter.</summary>
    SmallBatches,

    /// <summary>What passes through it is not what its running statistics say.</summary>
    Drifting,

    /// <summary>Some of its channels pass on nothing of their input, or nothing that is a number.</summary>
    DeadChannels,
}

/// <summary>How a layer is, and why.</summary>
/// <param name="Mark">The word.</param>
/// <param name="Reason">What was seen.</param>
public sealed record LayerHealth(Health Mark, string Reason)
{
    // Worst first: what is wrong with a session is said by the first that it has.
    private static readonly (Health Mark, string[] Codes)[] BySeverity =
    [
        (Health.DeadChannels, ["non-finite-statistics", "dead-channels", "zero-running-variance", "constant-channels"]),
        (Health.Drifting, ["train-serve-skew", "inference-drift", "drift", "frozen-mean-mismatch"]),
        (Health.SmallBatches, ["small-batch", "noisy-running-mean"]),
        (Health.Settling, ["not-settled", "estimate-gap"]),
    ];

    /// <summary>The health of a layer by what was diagnosed.</summary>
    public static LayerHealth Of(Diagnosis diagnosis)
    {
        ArgumentNullException.ThrowIfNull(diagnosis);
        foreach (var (mark, codes) in BySeverity)
        {
            foreach (var code in codes)
            {
                foreach (var finding in diagnosis.Findings)
                {
                    if (finding.Code == code) return new LayerHealth(mark, finding.Detail);
                }
            }
        }
        return new LayerHealth(Health.Healthy, diagnosis.Unseen ?? (diagnosis.Convergence is null
            ? "normalizes by each batch alone: it keeps no running statistics that could drift"
            : "the running statistics have settled, and the last batch fits them"));
    }
}
