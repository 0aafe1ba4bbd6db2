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

    /// <summary>
    /// Caffe's BatchNorm: moving_average_fraction 0.999 weighs the old statistics, the variance is unbiased, gamma is another layer's.
    /// </summary>
    Caffe,

    /// <summary>
    /// Ioffe &amp; Szegedy 2015: the average over all batches, the running variance is unbiased; a momentum weighs the new batch.
    /// </summary>
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

    /// <summary>
    /// The convention of a framework for a kind of layer; of kinds that it does not have, that of its batch normalization.
    /// </summary>
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
                $"momentum must be a number from 0 to 1 (with convention {Name} the weight of the " +
                    $"{(WeighsOld ? "old statistics" : "new batch")}), or null for the average over all batches, got {sent}"));
        }
        // In decimal, as it was written: in binary 1 − 0.99 is 0.010000000000000009.
        return WeighsOld ? (double)(1 - decimal.Parse(sent.ToString("R", CultureInfo.InvariantCulture), NumberStyles.Float,
            CultureInfo.InvariantCulture)) : sent;
    }
}

/// <summary>An option that a convention has set or given another value.</summary>
/// <param name="Option">Name of the option.</param>
/// <param name="Sent">What was sent, a number or a truth value; null where nothing was.</param>
/// <param name="Stored">What the layer has.</param>
/// <param name="Detail">Why they differ.</param>
public sealed record ConvertedOption(string Option, object? Sent, object? Stored, string Detail);

/// <summary>A convention and the options that were sent in its terms: kept with a layer, whose own options are always in ours.</summary>
public sealed record AppliedConvention
{
    /// <summary>Whose convention it is.</summary>
    public required Framework Framework { get; init; }

    /// <summary>Whether normalization goes over the batch: batch norm and renorm.</summary>
    public required bool IsOverBatch { get; init; }

    /// <summary>Whether there can be running statistics, which momentum and the kind of the variance are about.</summary>
    public required bool CanTrack { get; init; }

    /// <summary>The kind of the layer; null in states of a service that knew no defaults of a kind.</summary>
    public NormalizerKind? Kind { get; init; }

    /// <summary>Whether the layer computes in float64.</summary>
    public bool IsDouble { get; init; }

    /// <summary>Whether the convention's defaults hold for what was not sent, as they do for a new layer.</summary>
    public bool SetsDefaults { get; init; } = true;

    /// <summary>Whether momentum was sent; null is one of its values.</summary>
    public bool SendsMomentum { get; init; }

    /// <summary>The momentum that was sent.</summary>
    public double? Momentum { get; init; }

    /// <summary>The ε that was sent.</summary>
    public double? Eps { get; init; }

    /// <summary>The kind of the running variance that was sent.</summary>
    public bool? UnbiasedRunningVar { get; init; }

    /// <summary>The axis of the channels that was sent.</summary>
    public int? ChannelAxis { get; init; }

    /// <summary>Whether there are to be gamma and beta, where options or arrays have said so.</summary>
    public bool? Affine { get; init; }

    /// <summary>Whether the average is to be divided by the weight of its batches, where options have said so.</summary>
    public bool? ZeroDebias { get; init; }

    private Convention Convention =>
        Convention.Of(Framework, Kind ?? (IsOverBatch ? NormalizerKind.BatchNorm : NormalizerKind.LayerNorm), IsDouble);

    private bool SetsChannelAxis => SetsDefaults && ChannelAxis is null && Kind is { IsOverRows: false };

    private bool SetsZeroDebias => SetsDefaults && ZeroDebias is null && CanTrack && Kind is not null;

    private bool SetsAffine => SetsDefaults && Affine is null && Kind is not null;

    /// <summary>The options that the convention has set or given another value.</summary>
    public IEnumerable<ConvertedOption> Converted()
    {
        var (convention, ours) = (Convention, new NormalizerOptions { NumFeatures = 1 });
        var name = convention.Name;
        var weight = convention.WeighsOld && (SendsMomentum ? Momentum : convention.Momentum) is { } old
            ? $"{old} weighs the old statistics; stored is the weight of the new batch, 1 - {old}"
            : null;
        if (CanTrack && SendsMomentum && weight is not null)
            yield return new("momentum", Momentum, convention.NewWeight(Momentum), $"in {name}'s convention {weight}");
        if (CanTrack && !SendsMomentum && SetsDefaults && convention.Momentum != ours.Momentum)
        {
            var what = weight ?? (convention.Momentum is null ? "the average over all batches" : "it weighs the new batch");
            yield return new("momentum", null, convention.NewWeight(convention.Momentum), $"the default of {name}{OfKind}: {what}");
        }
        if (Eps is null && SetsDefaults && convention.Eps != ours.Eps)
            yield return new("eps", null, convention.Eps, $"the default of {name}{OfKind}");
        if (CanTrack && UnbiasedRunningVar is null && !convention.UnbiasedRunningVar)
            yield return new("unbiased_running_var", null, false, $"the running variance of {name} is the biased one, M2/m");
        if (SetsChannelAxis && convention.ChannelAxis != ours.ChannelAxis)
            yield return new("channel_axis", null, convention.ChannelAxis, $"the default of {name}: channels are last");
        if (SetsAffine && !convention.Affine)
            yield return new("affine", null, false, $"the default of {name}{OfKind}: without gamma and beta");
        if (SetsZeroDebias && convention.ZeroDebias)
            yield return new("zero_debias", null, true, $"{name} divides its average by the weight of the batches in it");
    }

    /// <summary>A layer's options in our terms.</summary>
    /// <param name="options">The layer's options, with what was sent taken as it stands.</param>
    /// <exception cref="LayerException">A momentum that is none.</exception>
    public NormalizerOptions Adopt(NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var convention = Convention;
        var adopted = options with
        {
            Eps = Eps ?? (SetsDefaults ? convention.Eps : options.Eps),
            ChannelAxis = SetsChannelAxis ? convention.ChannelAxis : options.ChannelAxis,
            Affine = SetsAffine ? convention.Affine : options.Affine,
        };
        return !CanTrack ? adopted : adopted with
        {
            Momentum = SendsMomentum ? convention.NewWeight(Momentum) : SetsDefaults ? convention.NewWeight(convention.Momentum)
                : options.Momentum,
            UnbiasedRunningVar = UnbiasedRunningVar ?? convention.UnbiasedRunningVar,
            ZeroDebias = SetsZeroDebias ? convention.ZeroDebias : options.ZeroDebias,
        };
    }

    /// <summary>The axis of the channels: what was sent, or else the convention's.</summary>
    public int AxisOfChannels() => ChannelAxis ?? Convention.ChannelAxis;

    private string OfKind => Kind is { } kind ? $" for {kind.WireName}" : "";
}
