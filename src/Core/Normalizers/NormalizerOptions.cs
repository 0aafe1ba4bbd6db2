using System.Globalization;

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

/// <summary>The options of a batch normalization layer; the defaults are PyTorch's.</summary>
public sealed record NormalizerOptions
{
    /// <summary>Number of channels, 1 or more.</summary>
    public required int NumFeatures { get; init; }

    /// <summary>ε, added to the variance; ≥ 0. With ε = 0 a constant channel is normalized to exactly 0.</summary>
    public double Eps { get; init; } = 1e-5;

    /// <summary>α, the weight of the new batch in the running statistics, 0 to 1; null for the average over all batches.</summary>
    public double? Momentum { get; init; } = 0.1;

    /// <summary>Whether gamma and beta exist.</summary>
    public bool Affine { get; init; } = true;

    /// <summary>Whether beta exists, where gamma does.</summary>
    public bool Bias { get; init; } = true;

    /// <summary>Whether running statistics are kept; if not, inference normalizes with the batch's own.</summary>
    public bool TrackRunningStats { get; init; } = true;

    /// <summary>Whether the running variance takes M2/(m − 1), as PyTorch and the paper do, or M2/m, as Keras does.</summary>
    public bool UnbiasedRunningVar { get; init; } = true;

    /// <summary>The axis of the channels: 1, or −1 for channels last.</summary>
    public int ChannelAxis { get; init; } = 1;

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

    /// <summary>What becomes of NaN and infinities in a batch that would move the state.</summary>
    public NonFinitePolicy NonFinite { get; init; }

    /// <summary>Whether inference is refused while no batch has moved the running statistics and nobody has set them.</summary>
    public bool RequireStatistics { get; init; }

    /// <summary>Checks every option against its range.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/>, naming the option, its value and what is allowed.</exception>
    public NormalizerOptions Validated()
    {
        Require(NumFeatures >= 1, "num_features", NumFeatures, "a whole number of 1 or more");
        Require(double.IsFinite(Eps) && Eps >= 0, "eps", Eps, "a finite number of 0 or more");
        Require(Momentum is not { } alpha || (alpha >= 0 && alpha <= 1), "momentum", Momentum,
            "a number from 0 to 1 (the weight of the new batch), or null for the average over all batches");
        Require(ChannelAxis is 1 or -1, "channel_axis", ChannelAxis, "1, or -1 for channels last");
        Require(Mode == NormalizationMode.Train || TrackRunningStats, "mode", "frozen", "train where track_running_stats is false");
        Require(double.IsFinite(GammaInit), "gamma_init", GammaInit, "a finite number");
        Require(double.IsFinite(BetaInit), "beta_init", BetaInit, "a finite number");
        return this;
    }

    private static void Require(bool holds, string option, object? value, string allowed)
    {
        if (!holds)
            throw new LayerException(LayerError.InvalidOption, string.Create(CultureInfo.InvariantCulture, $"{option} must be {allowed}, got {value}"));
    }
}
