using System.Diagnostics.CodeAnalysis;

namespace BnService.Client;

/// <summary>The kinds of layers.</summary>
public enum LayerKind
{
    /// <summary>A statistic per channel, over the batch and all positions.</summary>
    BatchNorm,

    /// <summary>Batch normalization corrected towards the running statistics.</summary>
    BatchRenorm,

    /// <summary>A statistic per row of the trailing dimensions.</summary>
    LayerNorm,

    /// <summary>A statistic per sample and group of channels.</summary>
    GroupNorm,

    /// <summary>A statistic per sample and channel.</summary>
    InstanceNorm,

    /// <summary>A mean square per row of the trailing dimensions.</summary>
    RmsNorm,
}

/// <summary>What shares a statistic.</summary>
public enum Granularity
{
    /// <summary>A channel, over the batch and all positions.</summary>
    PerChannel,

    /// <summary>A position of a sample, over the batch alone.</summary>
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

/// <summary>What batches, outputs and gradients are, and are computed in.</summary>
[SuppressMessage("Naming", "CA1720", Justification = "these are the names of the contract")]
public enum Precision
{
    /// <summary>24 bits, magnitudes up to 3.4e38.</summary>
    Float32,

    /// <summary>53 bits: for values that lie closer together than float32 tells apart, or beyond its range.</summary>
    Float64,
}

/// <summary>What becomes of NaN and infinities in a batch that would move the state.</summary>
public enum NonFinitePolicy
{
    /// <summary>The batch is refused (<see cref="ProblemCodes.NonFiniteInput"/>).</summary>
    Reject,

    /// <summary>They go into the statistics, as in PyTorch.</summary>
    Propagate,
}

/// <summary>Whose convention options are meant in: its defaults for the kind, and whether momentum weighs the new batch or the old statistics.</summary>
public enum Convention
{
    /// <summary>momentum 0.1 weighs the new batch, the running variance is unbiased, channels are on axis 1.</summary>
    Pytorch,

    /// <summary>momentum 0.99 weighs the old statistics, the running variance is biased, channels are last.</summary>
    Keras,

    /// <summary>momentum 0.99 weighs the old statistics, the running variance is biased, channels are last.</summary>
    Flax,

    /// <summary>momentum 0.9 weighs the old statistics, the running variance is biased, channels are on axis 1.</summary>
    Onnx,

    /// <summary>moving_average_fraction 0.999 weighs the old statistics, the average is that of batches alone, there is no gamma.</summary>
    Caffe,

    /// <summary>The average over all batches, the running variance is unbiased.</summary>
    Paper,
}

/// <summary>What a session can be folded into.</summary>
public enum FoldableLayer
{
    /// <summary>weight [out_features, in_features].</summary>
    Linear,

    /// <summary>weight [out_channels, in_channels/groups, kernel…].</summary>
    Conv,

    /// <summary>weight [in_channels, out_channels/groups, kernel…].</summary>
    ConvTranspose,
}

/// <summary>Where the normalization stands.</summary>
public enum FoldPosition
{
    /// <summary>Behind the layer, whose output it normalizes.</summary>
    After,

    /// <summary>Before the layer, whose input it normalizes.</summary>
    Before,
}

/// <summary>How a weight lies in memory; it is never guessed from its shape.</summary>
public enum FoldLayout
{
    /// <summary>As PyTorch has it; see <see cref="FoldableLayer"/>.</summary>
    Oihw,

    /// <summary>
    /// As Keras has it: convolution [kernel…, in_channels/groups, out_channels], transposed [kernel…, out_channels/groups, in_channels],
    /// depthwise [kernel…, in_channels, multiplier] with as many groups as channels.
    /// </summary>
    Hwio,

    /// <summary>A dense kernel of Keras or flax, [in_features, out_features].</summary>
    Io,

    /// <summary>A linear weight of PyTorch, [out_features, in_features].</summary>
    Oi,
}

/// <summary>Through which statistics a gradient flows.</summary>
public enum BackwardMode
{
    /// <summary>The batch's own, as in a train-step. In a frozen session: as its train-step, through the running ones.</summary>
    Train,

    /// <summary>The running ones, which are constants.</summary>
    Inference,
}

/// <summary>What <see cref="LayerSession.StatsAsync(StatsParts, CancellationToken)"/> asks for; the version always comes with it.</summary>
[Flags]
public enum StatsParts
{
    /// <summary>Nothing but the version.</summary>
    None = 0,

    /// <summary>Number of batches.</summary>
    NumBatchesTracked = 1,

    /// <summary>Running mean.</summary>
    RunningMean = 2,

    /// <summary>Running variance.</summary>
    RunningVar = 4,

    /// <summary>gamma.</summary>
    Gamma = 8,

    /// <summary>beta.</summary>
    Beta = 16,

    /// <summary>The last batch.</summary>
    LastBatch = 32,

    /// <summary>Diagnostics.</summary>
    Diagnostics = 64,

    /// <summary>Everything.</summary>
    All = 127,
}
