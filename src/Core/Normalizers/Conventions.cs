using System.Globalization;

namespace BnService.Core.Normalizers;

/// <summary>Whose convention the options of a layer are meant in.</summary>
public enum Framework
{
    /// <summary>torch.nn.BatchNorm*: momentum 0.1 weighs the new batch, eps 1e-5, the running variance is unbiased.</summary>
    Pytorch,

    /// <summary>keras.layers.BatchNormalization: momentum 0.99 weighs the old statistics, eps 1e-3, the running variance is biased.</summary>
    Keras,

    /// <summary>flax.linen.BatchNorm: momentum 0.99 weighs the old statistics, eps 1e-5, the running variance is biased.</summary>
    Flax,

    /// <summary>The operator BatchNormalization of ONNX: momentum 0.9 weighs the old statistics, eps 1e-5, the running variance is biased.</summary>
    Onnx,

    /// <summary>Caffe's BatchNorm: moving_average_fraction 0.999 weighs the old statistics, eps 1e-5, the running variance is unbiased.</summary>
    Caffe,

    /// <summary>Ioffe &amp; Szegedy 2015: the average over all batches, eps 1e-5, the running variance is unbiased; a momentum weighs the new batch.</summary>
    Paper,
}

/// <summary>What a framework means by its options, and what it takes for those that are not given.</summary>
/// <param name="Framework">Whose convention it is.</param>
/// <param name="Momentum">Default momentum as the framework writes it; null for the average over all batches.</param>
/// <param name="WeighsOld">Whether its momentum is the weight of the old statistics: α = 1 − momentum.</param>
/// <param name="Eps">Default ε of normalization over a batch.</param>
/// <param name="SampleEps">Default ε of normalization within a sample: layer, group, instance, RMS.</param>
/// <param name="UnbiasedRunningVar">Whether its running variance takes M2/(m − 1), or M2/m.</param>
public sealed record Convention(
    Framework Framework, double? Momentum, bool WeighsOld, double Eps, double SampleEps, bool UnbiasedRunningVar)
{
    /// <summary>The framework as it is called on the wire.</summary>
    public string Name => Framework.ToString().ToLowerInvariant();

    /// <summary>The convention of a framework.</summary>
    public static Convention Of(Framework framework) => framework switch
    {
        Framework.Keras => new(framework, 0.99, true, 1e-3, 1e-3, false),
        Framework.Flax => new(framework, 0.99, true, 1e-5, 1e-6, false),
        Framework.Onnx => new(framework, 0.9, true, 1e-5, 1e-5, false),
        Framework.Caffe => new(framework, 0.999, true, 1e-5, 1e-5, true),
        Framework.Paper => new(framework, null, false, 1e-5, 1e-5, true),
        _ => new(framework, 0.1, false, 1e-5, 1e-5, true),
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

    /// <summary>Whether normalization goes over the batch: batch norm and renorm. The other kinds have another default ε.</summary>
    public required bool IsOverBatch { get; init; }

    /// <summary>Whether there can be running statistics, which momentum and the kind of the variance are about.</summary>
    public required bool CanTrack { get; init; }

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

    /// <summary>The options that the convention has set or given another value.</summary>
    public IEnumerable<ConvertedOption> Converted()
    {
        var convention = Convention.Of(Framework);
        var (name, ours) = (convention.Name, Convention.Of(Framework.Pytorch));
        var weight = convention.WeighsOld && (SendsMomentum ? Momentum : convention.Momentum) is { } old
            ? string.Create(CultureInfo.InvariantCulture, $"{old} weighs the old statistics; stored is the weight of the new batch, 1 - {old}")
            : null;
        if (CanTrack && SendsMomentum && weight is not null)
            yield return new("momentum", Momentum, convention.NewWeight(Momentum), $"in {name}'s convention {weight}");
        if (CanTrack && !SendsMomentum && SetsDefaults && convention.Momentum != ours.Momentum)
            yield return new("momentum", null, convention.NewWeight(convention.Momentum), $"the default of {name}: {weight ?? "the average over all batches"}");
        var eps = DefaultEps(convention);
        if (Eps is null && SetsDefaults && eps != DefaultEps(ours)) yield return new("eps", null, eps, $"the default of {name}");
        if (CanTrack && UnbiasedRunningVar is null && !convention.UnbiasedRunningVar)
            yield return new("unbiased_running_var", null, false, $"the running variance of {name} is the biased one, M2/m");
    }

    /// <summary>A layer's options in our terms.</summary>
    /// <param name="options">The layer's options, with what was sent taken as it stands.</param>
    /// <exception cref="LayerException">A momentum that is none.</exception>
    public NormalizerOptions Adopt(NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var convention = Convention.Of(Framework);
        var adopted = options with { Eps = Eps ?? (SetsDefaults ? DefaultEps(convention) : options.Eps) };
        return !CanTrack ? adopted : adopted with
        {
            Momentum = SendsMomentum ? convention.NewWeight(Momentum) : SetsDefaults ? convention.NewWeight(convention.Momentum) : options.Momentum,
            UnbiasedRunningVar = UnbiasedRunningVar ?? convention.UnbiasedRunningVar,
        };
    }

    private double DefaultEps(Convention convention) => IsOverBatch ? convention.Eps : convention.SampleEps;
}
