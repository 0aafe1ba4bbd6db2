using System.Globalization;

namespace BnService.Core.Normalizers;

/// <summary>Whose convention the options of a layer are meant in.</summary>
public enum Framework
{
    /// <summary>torch.nn: momentum 0.1 weighs the new batch, the running variance is unbiased, channels are on axis 1.</summary>
    Pytorch,

    /// <summary>keras.layers: momentum 0.99 weighs the old statistics, the running variance is biased, channels are last.</summary>
    Keras,

    /// <summary>flax.linen: momentum 0.99 weighs the old statistics, the running variance is biased, channels are last.</summary>
    Flax,

    /// <summary>ONNX's operators: momentum 0.9 weighs the old statistics, the running variance is biased, channels are on axis 1.</summary>
    Onnx,

    /// <summary>Caffe's BatchNorm: moving_average_fraction 0.999 weighs the old statistics, the variance is unbiased, gamma is another layer's.</summary>
    Caffe,

    /// <summary>Ioffe &amp; Szegedy 2015: the average over all batches, the running variance is unbiased; a momentum weighs the new batch.</summary>
    Paper,
}

/// <summary>What a framework means by the options of a kind of layer, and what it takes for those that are not given.</summary>
/// <param name="Framework">Whose convention it is.</param>
/// <param name="Momentum">Default momentum as the framework writes it; null for the average over all batches.</param>
/// <param name="WeighsOld">Whether its momentum is the weight of the old statistics: α = 1 − momentum.</param>
/// <param name="Eps">Default ε.</param>
/// <param name="UnbiasedRunningVar">Whether its running variance takes M2/(m − 1), or M2/m.</param>
public sealed record Convention(Framework Framework, double? Momentum, bool WeighsOld, double Eps, bool UnbiasedRunningVar)
{
    // ε of torch.nn.RMSNorm: where none is given, the machine epsilon of what it computes in.
    private const double EpsilonOfFloat = 1.0 / (1 << 23), EpsilonOfDouble = 1.0 / (1L << 52);

    /// <summary>Default axis of the channels.</summary>
    public int ChannelAxis { get; init; } = 1;

    /// <summary>Whether gamma and beta exist by default.</summary>
    public bool Affine { get; init; } = true;

    /// <summary>Whether its moving average is divided by the weight of the batches in it.</summary>
    public bool ZeroDebias { get; init; }

    /// <summary>The framework as it is called on the wire.</summary>
    public string Name => Framework.ToString().ToLowerInvariant();

    /// <summary>The convention of a framework for a kind of layer; of kinds that it does not have, that of its batch normalization.</summary>
    /// <param name="framework">The framework.</param>
    /// <param name="kind">The kind.</param>
    /// <param name="isDouble">Whether the layer computes in float64.</param>
    public static Convention Of(Framework framework, NormalizerKind kind, bool isDouble = false) => framework switch
    {
        Framework.Keras => new(framework, 0.99, true, kind == NormalizerKind.RmsNorm ? 1e-6 : 1e-3, false) { ChannelAxis = -1 },
        Framework.Flax => new(framework, 0.99, true, kind.IsOverBatch ? 1e-5 : 1e-6, false) { ChannelAxis = -1 },
        Framework.Onnx => new(framework, 0.9, true, 1e-5, false),
        // Its instance normalization is MVN; gamma and beta are a Scale layer's.
        Framework.Caffe => new(framework, 0.999, true, kind == NormalizerKind.InstanceNorm ? 1e-9 : 1e-5, true)
        {
            Affine = !kind.CanTrack,
            ZeroDebias = true,
        },
        // Ioffe 2017 needs a moving average, and one of biased deviations.
        Framework.Paper when kind == NormalizerKind.BatchRenorm => new(framework, 0.01, false, 1e-5, false),
        Framework.Paper => new(framework, null, false, 1e-5, true),
        _ => new(framework, 0.1, false, kind != NormalizerKind.RmsNorm ? 1e-5 : isDouble ? EpsilonOfDouble : EpsilonOfFloat, true)
        {
            Affine = kind != NormalizerKind.InstanceNorm,
        },
    };

    /// <summary>α, the weight of the new batch, of a momentum as the framework writes it; null stays null.</summary>
    /// <exception cref="LayerException">The momentum is not from 0 to 1.</exception>
    public double? NewWeight(double? momentum)
    {
        if (momentum is not { } sent) return null;
        if (!(sent >= 0 && sent <= 1))
        {
            throw new LayerException(LayerError.InvalidOption, string.Create(CultureInfo.InvariantCulture,
                $"momentum must be a number from 0 to 1 (with convention {Name} the weight of the {(WeighsOld ? "old statistics" : "new batch")}), or null for the average over all batches, got {sent}"));
        }
        // In decimal, as it was written: in binary 1 − 0.99 is 0.010000000000000009.
        return WeighsOld ? (double)(1 - decimal.Parse(sent.ToString("R", CultureInfo.InvariantCulture), NumberStyles.Float, CultureInfo.InvariantCulture)) : sent;
    }
}
