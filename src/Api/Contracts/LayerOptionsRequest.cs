using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>Marks an optional property of which null is a value. Null for any other one is as if it had not been sent.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class NullIsValueAttribute : Attribute;

/// <summary>Limits of batch renormalization (Ioffe 2017).</summary>
public sealed class RenormOptions
{
    /// <summary>The largest r, 1 or more.</summary>
    [Range(1, double.MaxValue)]
    public double RMax { get; set; } = 3;

    /// <summary>The largest magnitude of d, 0 or more.</summary>
    [Range(0, double.MaxValue)]
    public double DMax { get; set; } = 5;

    /// <summary>
    /// Steps before the limits begin to open, as in the paper's schedule, which is scaled to it; 0 for open limits from the start.
    /// </summary>
    [Range(0, long.MaxValue)]
    public long WarmupSteps { get; set; } = 5000;
}

/// <summary>
/// The options of a layer. Only num_features (or normalized_shape) has no default; the other defaults are PyTorch's. An option that does
/// not belong to the kind is refused.
/// </summary>
public class LayerOptionsRequest
{
    /// <summary>Kind of the layer; batch_norm where absent.</summary>
    public NormalizerKind Kind
    {
        get;
        set
        {
            field = value;
            SendsKind = true;
        }
    }

    /// <summary>Whether the kind was sent.</summary>
    [JsonIgnore]
    public bool SendsKind { get; private set; }

    /// <summary>
    /// Number of channels; needed by the kinds that have channels. layer_norm, rms_norm: with channel_axis, in place of normalized_shape.
    /// </summary>
    [Range(1, int.MaxValue), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? NumFeatures { get; set; }

    /// <summary>
    /// layer_norm, rms_norm: the trailing dimensions that are normalized together; with channel_axis 1 the number of channels alone.
    /// </summary>
    [MaxLength(Layout.MaxRank - 1), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int[]? NormalizedShape { get; set; }

    /// <summary>group_norm: number of groups of channels; it divides num_features.</summary>
    [Range(1, int.MaxValue), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? NumGroups { get; set; }

    /// <summary>Added to the variance, 0 or more; 1e-5 where absent. With 0 a constant channel is normalized to exactly 0.</summary>
    [Range(0, double.MaxValue), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? Eps { get; set; }

    /// <summary>
    /// Weight of the NEW batch in the running statistics, 0 to 1 (PyTorch's convention); 0.1 where absent, null for the average over all \
    /// batches.
    /// </summary>
    [Range(0.0, 1.0), NullIsValue]
    public double? Momentum
    {
        get;
        set
        {
            field = value;
            SendsMomentum = true;
        }
    }

    /// <summary>Whether momentum was sent; null is one of its values.</summary>
    [JsonIgnore]
    public bool SendsMomentum { get; private set; }

    /// <summary>Whether gamma and beta exist; true where absent.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? Affine { get; set; }

    /// <summary>Whether beta exists, true where absent; false leaves gamma alone. Not for rms_norm, which has none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? Bias { get; set; }

    /// <summary>
    /// Whether gamma exists, true where absent; false leaves beta alone (Keras's and flax's scale=False). Not for rms_norm, whose only \
    /// parameter it is.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? Scale { get; set; }

    /// <summary>
    /// What is added to gamma, 0 where absent: 1 where it is kept as its difference from 1 (Gemma's RMSNorm, NeMo's layernorm1p), so that \
    /// y is
    /// (gamma + 1) times the normalized x. gamma is then what is kept, in every call.
    /// </summary>
    [AllowedValues(null, 0.0, 1.0), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? GammaOffset { get; set; }

    /// <summary>
    /// Whether running statistics are kept: true where absent, false for instance_norm. Without them inference normalizes with the \
    /// batch's own.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? TrackRunningStats { get; set; }

    /// <summary>
    /// Whether the running variance takes M2/(m-1), as PyTorch and the paper do, or M2/m, as Keras does; true where absent.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? UnbiasedRunningVar { get; set; }

    /// <summary>
    /// Whether the moving average is divided by the weight of the batches in it, so that nothing of the initial 0 and 1 is left
    /// (zero_debias of TensorFlow and Haiku; Caffe always does it). Nothing changes where momentum is null. false where absent.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? ZeroDebias { get; set; }

    /// <summary>
    /// Axis of the channels: 1, which it is where absent, or -1 for channels last. layer_norm, rms_norm: 1 normalizes the channels of \
    /// each position of [N, C, spatial...]
    /// (ConvNeXt), with num_features or normalized_shape [C]; -1, or absent, the trailing dimensions.
    /// </summary>
    [AllowedValues(null, 1, -1), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? ChannelAxis { get; set; }

    /// <summary>
    /// batch_norm, batch_renorm: one statistic per channel, or one per position of a sample (channels × spatial), over the batch alone.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Granularity? Granularity { get; set; }

    /// <summary>train: a train-step normalizes with the batch. frozen: with the running statistics, which it leaves alone.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public NormalizationMode? Mode { get; set; }

    /// <summary>What follows the affine map; relu is fused into forward and undone in backward.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Activation? Activation { get; set; }

    /// <summary>
    /// Initial value of gamma, 1 where absent; with gamma_offset 1 it is 0 where absent. 0 without an offset makes a residual block begin \
    /// as the identity.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? GammaInit { get; set; }

    /// <summary>Initial value of beta; 0 where absent.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? BetaInit { get; set; }

    /// <summary>
    /// batch_norm, batch_renorm: samples of a ghost batch, 2 or more. Each is normalized with statistics of its own, and the running ones
    /// move once for each; a sample left over joins the one before it. null for statistics over the whole batch.
    /// </summary>
    [Range(2, int.MaxValue)]
    public int? GhostBatchSize { get; set; }

    /// <summary>batch_renorm: its limits.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public RenormOptions? Renorm { get; set; }

    /// <summary>Whether a train-step with NaN or infinity in x is refused, or goes into the statistics as in PyTorch.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public NonFinitePolicy? NonFinite { get; set; }

    /// <summary>
    /// What batches, outputs and gradients are, and are computed in: float32, or float64 for values that lie closer together than float32
    /// tells apart (seconds since 1970) or beyond its range. It stays as it is for the life of a session. float32 where absent: a batch \
    /// that loses by it is warned of
    /// (precision-lost), and a value beyond its range is refused.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Precision? Precision { get; set; }

    /// <summary>Whether inference is refused until the running statistics have seen a batch or have been set; false where absent.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? RequireStatistics { get; set; }
}
