using System.Globalization;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>What shares a statistic.</summary>
public enum Granularity
{
    /// <summary>One statistic per channel, over the batch and all positions.</summary>
    PerChannel,

    /// <summary>One statistic per position of a sample, over the batch alone (Ioffe &amp; Szegedy 2015, algorithm 1).</summary>
    PerActivation,
}

/// <summary>What a train-step normalizes with.</summary>
public enum NormalizationMode
{
    /// <summary>The batch's own statistics, which then move the running ones.</summary>
    Train,

    /// <summary>The running statistics, which stay as they are.</summary>
    Frozen,
}

/// <summary>What follows the affine map, fused into it.</summary>
public enum Activation
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>max(y, 0).</summary>
    Relu,
}

/// <summary>What becomes of NaN and infinities in a batch that would move the state.</summary>
public enum NonFinitePolicy
{
    /// <summary>The batch is refused and the state untouched.</summary>
    Reject,

    /// <summary>They go into the statistics, as in PyTorch.</summary>
    Propagate,
}

/// <summary>The options of a normalization layer; the defaults are those of PyTorch's batch normalization.</summary>
public sealed record NormalizerOptions
{
    /// <summary>The kind of the layer.</summary>
    public NormalizerKind Kind { get; init; }

    /// <summary>Number of channels, 1 or more; for kinds over rows the product of <see cref="NormalizedShape"/>.</summary>
    public required int NumFeatures { get; init; }

    /// <summary>The trailing dimensions of a row, for kinds over rows; null for the others.</summary>
    public IReadOnlyList<int>? NormalizedShape { get; init; }

    /// <summary>Number of groups of channels, for group normalization; it divides <see cref="NumFeatures"/>.</summary>
    public int? NumGroups { get; init; }

    /// <summary>ε, added to the variance; ≥ 0. With ε = 0 a constant channel is normalized to exactly 0.</summary>
    public double Eps { get; init; } = 1e-5;

    /// <summary>α, the weight of the new batch in the running statistics, 0 to 1; null for the average over all batches.</summary>
    public double? Momentum { get; init; } = 0.1;

    /// <summary>Whether gamma and beta exist.</summary>
    public bool Affine { get; init; } = true;

    /// <summary>Whether beta exists, where gamma does.</summary>
    public bool Bias { get; init; } = true;

    /// <summary>
    /// Whether beta is alone, where parameters exist. Said this way round, since stored options that do not say it have a gamma.
    /// </summary>
    public bool OmitsGamma { get; init; }

    /// <summary>What is added to the stored gamma: 1 where the layer keeps the difference from 1, otherwise 0.</summary>
    public double GammaOffset { get; init; }

    /// <summary>Whether running statistics are kept; if not, inference normalizes with the batch's own.</summary>
    public bool TrackRunningStats { get; init; } = true;

    /// <summary>Whether the running variance takes M2/(m − 1), as PyTorch and the paper do, or M2/m, as Keras does.</summary>
    public bool UnbiasedRunningVar { get; init; } = true;

    /// <summary>
    /// Whether the running statistics are a moving average of batches alone: divided by the batches' weight in it, so that nothing of the
    /// initial values is left. Nothing else than that where the momentum is null.
    /// </summary>
    public bool ZeroDebias { get; init; }

    /// <summary>The axis of the channels: 1, or −1 for channels last.</summary>
    public int ChannelAxis { get; init; } = 1;

    /// <summary>
    /// For kinds over rows: whether a row is the channels of one position of [N, C, spatial…], along axis 1, and not the trailing
    /// dimensions.
    /// </summary>
    public bool IsOverChannels { get; init; }

    /// <summary>What shares a statistic.</summary>
    public Granularity Granularity { get; init; }

    /// <summary>What a train-step normalizes with.</summary>
    public NormalizationMode Mode { get; init; }

    /// <summary>What follows the affine map.</summary>
    public Activation Activation { get; init; }

    /// <summary>Initial value of gamma.</summary>
    public double GammaInit { get; init; } = 1;

    /// <summary>Initial value of beta.</summary>
    public double BetaInit { get; init; }

    /// <summary>Samples of a ghost batch, 2 or more (Hoffer et al. 2017); null for statistics over the whole batch.</summary>
    public int? GhostBatchSize { get; init; }

    /// <summary>How far batch renormalization corrects, for that kind; null for the others.</summary>
    public RenormLimits? Renorm { get; init; }

    /// <summary>What becomes of NaN and infinities in a batch that would move the state.</summary>
    public NonFinitePolicy NonFinite { get; init; }

    /// <summary>The type of the elements of batches, outputs and gradients, and of what is computed with them.</summary>
    public Precision Precision { get; init; }

    /// <summary>Whether inference is refused while no batch has moved the running statistics and nobody has set them.</summary>
    public bool RequireStatistics { get; init; }

    /// <summary>Whether the layer has a gamma.</summary>
    internal bool HasGamma => Affine && !OmitsGamma;

    /// <summary>Whether the layer has a beta.</summary>
    internal bool HasBeta => Affine && Bias;

    /// <summary>Checks every option against its range and the kind.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/>, naming the option, its value and what is
    /// allowed.</exception>
    public NormalizerOptions Validated()
    {
        ValidateShape();
        Require(double.IsFinite(Eps) && Eps >= 0, "eps", Eps, "a finite number of 0 or more");
        Require(Momentum is not { } alpha || (alpha >= 0 && alpha <= 1), "momentum", Momentum,
            "a number from 0 to 1 (the weight of the new batch), or null for the average over all batches");
        Require(ChannelAxis is 1 or -1, "channel_axis", ChannelAxis, "1, or -1 for channels last");
        Require(!TrackRunningStats || Kind.CanTrack, "track_running_stats", "true", $"false for {Kind.WireName}");
        Require(TrackRunningStats || Kind != NormalizerKind.BatchRenorm, "track_running_stats", "false",
            "true for batch_renorm, which corrects towards them");
        Require(Mode == NormalizationMode.Train || TrackRunningStats, "mode", "frozen", "train where track_running_stats is false");
        Require(GhostBatchSize is not < 2, "ghost_batch_size", GhostBatchSize, "a whole number of 2 or more, or null for the whole batch");
        Require(GammaOffset is 0 or 1, "gamma_offset", GammaOffset, "0, or 1 where gamma is stored as its difference from 1");
        Require(GammaOffset == 0 || HasGamma, "gamma_offset", GammaOffset,
            $"0 where there is no gamma ({(Affine ? "scale" : "affine")} is false)");
        Require(double.IsFinite(GammaInit), "gamma_init", GammaInit, "a finite number");
        Require(double.IsFinite(BetaInit), "beta_init", BetaInit, "a finite number");
        if (Renorm is { } limits)
        {
            Require(limits.RMax is >= 1 and < double.PositiveInfinity, "renorm.r_max", limits.RMax, "a finite number of 1 or more");
            Require(limits.DMax is >= 0 and < double.PositiveInfinity, "renorm.d_max", limits.DMax, "a finite number of 0 or more");
            Require(limits.WarmupSteps >= 0, "renorm.warmup_steps", limits.WarmupSteps, "a whole number of 0 or more");
        }
        return this;
    }

    private void ValidateShape()
    {
        if (Kind.IsOverRows)
        {
            var dimensions = NormalizedShape ?? [];
            Require(dimensions.Count >= 1 && dimensions.Count < Layout.MaxRank, "normalized_shape",
                $"{dimensions.Count} dimensions", $"1 to {Layout.MaxRank - 1} dimensions");
            Require(!IsOverChannels || dimensions.Count == 1, "normalized_shape", $"[{string.Join(", ", dimensions)}]",
                "one dimension, the number of channels, with channel_axis 1");
            Require(dimensions.All(dimension => dimension >= 1), "normalized_shape", $"[{string.Join(", ", dimensions)}]",
                "dimensions of 1 or more");
            Require(dimensions.Aggregate(1.0, (product, dimension) => product * dimension) <= int.MaxValue, "normalized_shape",
                $"[{string.Join(", ", dimensions)}]", $"at most {int.MaxValue} elements");
            return;
        }
        Require(NumFeatures >= 1, "num_features", NumFeatures, "a whole number of 1 or more");
        if (Kind != NormalizerKind.GroupNorm) return;
        Require(NumGroups is >= 1, "num_groups", NumGroups?.ToString(CultureInfo.InvariantCulture) ?? "nothing",
            "a whole number of 1 or more");
        if (NumFeatures % NumGroups != 0)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"num_features must be divisible by num_groups, got num_features {NumFeatures} and num_groups {NumGroups}");
        }
    }

    private static void Require(bool holds, string option, object? value, string allowed)
    {
        if (!holds)
            throw new LayerException(LayerError.InvalidOption, $"{option} must be {allowed}, got {value}");
    }
}

/// <summary>The normalizers of the field. They differ in which elements share a statistic and which share a gamma and beta.</summary>
public enum NormalizerKind
{
    /// <summary>A statistic per channel, over the batch and all positions (Ioffe &amp; Szegedy 2015).</summary>
    BatchNorm,

    /// <summary>
    /// Batch normalization corrected towards the running statistics, which training then shares with inference (Ioffe 2017).
    /// </summary>
    BatchRenorm,

    /// <summary>A statistic per row of the trailing dimensions (Ba et al. 2016).</summary>
    LayerNorm,

    /// <summary>A statistic per sample and group of channels (Wu &amp; He 2018).</summary>
    GroupNorm,

    /// <summary>A statistic per sample and channel (Ulyanov et al. 2016).</summary>
    InstanceNorm,

    /// <summary>The root mean square per row of the trailing dimensions, without a mean (Zhang &amp; Sennrich 2019).</summary>
    RmsNorm,
}

/// <summary>What follows from a kind.</summary>
public static class NormalizerKinds
{
    extension(NormalizerKind kind)
    {
        /// <summary>
        /// Whether the statistics of a train-step go over the batch, so that a layer without running statistics depends on it.
        /// </summary>
        public bool IsOverBatch => kind is NormalizerKind.BatchNorm or NormalizerKind.BatchRenorm;

        /// <summary>Whether rows of the trailing dimensions are normalized (normalized_shape), so that there are no channels.</summary>
        public bool IsOverRows => kind is NormalizerKind.LayerNorm or NormalizerKind.RmsNorm;

        /// <summary>Whether running statistics can be kept.</summary>
        public bool CanTrack => kind.IsOverBatch || kind == NormalizerKind.InstanceNorm;

        /// <summary>Whether a mean is subtracted.</summary>
        public bool HasMean => kind != NormalizerKind.RmsNorm;

        /// <summary>The kind as it is called on the wire: batch_norm, layer_norm, …</summary>
        public string WireName => kind switch
        {
            NormalizerKind.BatchNorm => "batch_norm",
            NormalizerKind.BatchRenorm => "batch_renorm",
            NormalizerKind.LayerNorm => "layer_norm",
            NormalizerKind.GroupNorm => "group_norm",
            NormalizerKind.InstanceNorm => "instance_norm",
            _ => "rms_norm",
        };
    }
}
