using System.Text.Json.Nodes;

namespace BnService.Client;

/// <summary>Options of a layer. What is null has the service's default, which is PyTorch's, or that of the <see cref="Convention"/> that is named.</summary>
public abstract class LayerOptions
{
    private protected LayerOptions()
    {
    }

    /// <summary>Kind of the layer.</summary>
    public abstract LayerKind Kind { get; }

    /// <summary>Added to the variance, 0 or more; 1e-5.</summary>
    public double? Eps { get; set; }

    /// <summary>Whether gamma and beta exist; true.</summary>
    public bool? Affine { get; set; }

    /// <summary>What follows the affine map; nothing.</summary>
    public Activation? Activation { get; set; }

    /// <summary>Initial value of gamma; 1, and 0 with an offset of 1.</summary>
    public double? GammaInit { get; set; }

    /// <summary>What is added to gamma: 1 where it is kept as its difference from 1; 0.</summary>
    public double? GammaOffset { get; set; }

    /// <summary>What becomes of NaN and infinities in a train-step; it is refused.</summary>
    public NonFinitePolicy? NonFinite { get; set; }

    /// <summary>What batches, outputs and gradients are, and are computed in, for the life of the session; float32.</summary>
    public Precision? Precision { get; set; }

    /// <summary>The options as they are sent.</summary>
    internal abstract JsonObject ToJson();
}

/// <summary>Options of a layer with channels.</summary>
public abstract class ChannelOptions : LayerOptions
{
    private protected ChannelOptions()
    {
    }

    /// <summary>Number of channels. The one-shot call takes it from x where it is null.</summary>
    public int? NumFeatures { get; set; }

    /// <summary>Axis of the channels: 1, or -1 for channels last; 1.</summary>
    public int? ChannelAxis { get; set; }

    /// <summary>Whether beta exists, where there are parameters; true.</summary>
    public bool? Bias { get; set; }

    /// <summary>Whether gamma exists, where there are parameters; true.</summary>
    public bool? Scale { get; set; }

    /// <summary>Initial value of beta; 0.</summary>
    public double? BetaInit { get; set; }
}

/// <summary>Options of a layer that can keep running statistics.</summary>
public abstract class TrackingOptions : ChannelOptions
{
    private protected TrackingOptions()
    {
    }

    /// <summary>Weight of the new batch in the running statistics, 0 to 1, or <see cref="Momentum.Cumulative"/>; 0.1.</summary>
    public Momentum? Momentum { get; set; }

    /// <summary>Whether running statistics are kept; true, and false for instance normalization.</summary>
    public bool? TrackRunningStats { get; set; }

    /// <summary>Whether the running variance takes M2/(m-1), or M2/m; true.</summary>
    public bool? UnbiasedRunningVar { get; set; }

    /// <summary>Whether the moving average is divided by the weight of the batches in it, which leaves nothing of the initial values; false.</summary>
    public bool? ZeroDebias { get; set; }

    /// <summary>What a train-step normalizes with; the batch.</summary>
    public NormalizationMode? Mode { get; set; }

    /// <summary>Whether inference is refused until there are running statistics; false.</summary>
    public bool? RequireStatistics { get; set; }
}

/// <summary>Batch normalization: a statistic per channel, over the batch and all positions.</summary>
public sealed class BatchNormOptions : TrackingOptions
{
    /// <inheritdoc/>
    public override LayerKind Kind => LayerKind.BatchNorm;

    /// <summary>What shares a statistic; a channel.</summary>
    public Granularity? Granularity { get; set; }

    /// <summary>Samples of a ghost batch, 2 or more; null for statistics over the whole batch.</summary>
    public int? GhostBatchSize { get; set; }

    internal override JsonObject ToJson() => ClientJson.Fields(this, ClientJson.Default.BatchNormOptions);
}

/// <summary>Batch renormalization: batch normalization corrected towards the running statistics.</summary>
public sealed class BatchRenormOptions : TrackingOptions
{
    /// <inheritdoc/>
    public override LayerKind Kind => LayerKind.BatchRenorm;

    /// <summary>What shares a statistic; a channel.</summary>
    public Granularity? Granularity { get; set; }

    /// <summary>Samples of a ghost batch, 2 or more; null for statistics over the whole batch.</summary>
    public int? GhostBatchSize { get; set; }

    /// <summary>Limits of the correction.</summary>
    public RenormLimits? Renorm { get; set; }

    internal override JsonObject ToJson() => ClientJson.Fields(this, ClientJson.Default.BatchRenormOptions);
}

/// <summary>Limits of batch renormalization.</summary>
/// <param name="RMax">The largest r, 1 or more.</param>
/// <param name="DMax">The largest magnitude of d, 0 or more.</param>
/// <param name="WarmupSteps">Steps before the limits begin to open.</param>
public sealed record RenormLimits(double RMax = 3, double DMax = 5, long WarmupSteps = 5000);

/// <summary>Instance normalization: a statistic per sample and channel.</summary>
public sealed class InstanceNormOptions : TrackingOptions
{
    /// <inheritdoc/>
    public override LayerKind Kind => LayerKind.InstanceNorm;

    internal override JsonObject ToJson() => ClientJson.Fields(this, ClientJson.Default.InstanceNormOptions);
}

/// <summary>Group normalization: a statistic per sample and group of channels.</summary>
public sealed class GroupNormOptions : ChannelOptions
{
    /// <inheritdoc/>
    public override LayerKind Kind => LayerKind.GroupNorm;

    /// <summary>Number of groups of channels, which divides <see cref="ChannelOptions.NumFeatures"/>.</summary>
    public required int NumGroups { get; set; }

    internal override JsonObject ToJson() => ClientJson.Fields(this, ClientJson.Default.GroupNormOptions);
}

/// <summary>Layer normalization: a statistic per row of the trailing dimensions.</summary>
public sealed class LayerNormOptions : LayerOptions
{
    /// <inheritdoc/>
    public override LayerKind Kind => LayerKind.LayerNorm;

    /// <summary>The trailing dimensions that are normalized together; with <see cref="ChannelAxis"/> 1 the number of channels alone.</summary>
    public required IReadOnlyList<int> NormalizedShape { get; set; }

    /// <summary>1 for the channels of each position of [N, C, spatial…] (ConvNeXt); null for the trailing dimensions.</summary>
    public int? ChannelAxis { get; set; }

    /// <summary>Whether beta exists, where there are parameters; true.</summary>
    public bool? Bias { get; set; }

    /// <summary>Whether gamma exists, where there are parameters; true.</summary>
    public bool? Scale { get; set; }

    /// <summary>Initial value of beta; 0.</summary>
    public double? BetaInit { get; set; }

    internal override JsonObject ToJson() => ClientJson.Fields(this, ClientJson.Default.LayerNormOptions);
}

/// <summary>RMS normalization: a mean square per row of the trailing dimensions, no mean and no beta.</summary>
public sealed class RmsNormOptions : LayerOptions
{
    /// <inheritdoc/>
    public override LayerKind Kind => LayerKind.RmsNorm;

    /// <summary>The trailing dimensions that are normalized together; with <see cref="ChannelAxis"/> 1 the number of channels alone.</summary>
    public required IReadOnlyList<int> NormalizedShape { get; set; }

    /// <summary>1 for the channels of each position of [N, C, spatial…] (ConvNeXt); null for the trailing dimensions.</summary>
    public int? ChannelAxis { get; set; }

    internal override JsonObject ToJson() => ClientJson.Fields(this, ClientJson.Default.RmsNormOptions);
}
