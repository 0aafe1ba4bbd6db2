using System.Globalization;

namespace BnService.Core.Normalizers;

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
            ? string.Create(CultureInfo.InvariantCulture, $"{old} weighs the old statistics; stored is the weight of the new batch, 1 - {old}")
            : null;
        if (CanTrack && SendsMomentum && weight is not null)
            yield return new("momentum", Momentum, convention.NewWeight(Momentum), $"in {name}'s convention {weight}");
        if (CanTrack && !SendsMomentum && SetsDefaults && convention.Momentum != ours.Momentum)
        {
            var what = weight ?? (convention.Momentum is null ? "the average over all batches" : "it weighs the new batch");
            yield return new("momentum", null, convention.NewWeight(convention.Momentum), $"the default of {name}{OfKind}: {what}");
        }
        if (Eps is null && SetsDefaults && convention.Eps != ours.Eps) yield return new("eps", null, convention.Eps, $"the default of {name}{OfKind}");
        if (CanTrack && UnbiasedRunningVar is null && !convention.UnbiasedRunningVar)
            yield return new("unbiased_running_var", null, false, $"the running variance of {name} is the biased one, M2/m");
        if (SetsChannelAxis && convention.ChannelAxis != ours.ChannelAxis)
            yield return new("channel_axis", null, convention.ChannelAxis, $"the default of {name}: channels are last");
        if (SetsAffine && !convention.Affine) yield return new("affine", null, false, $"the default of {name}{OfKind}: without gamma and beta");
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
            Momentum = SendsMomentum ? convention.NewWeight(Momentum) : SetsDefaults ? convention.NewWeight(convention.Momentum) : options.Momentum,
            UnbiasedRunningVar = UnbiasedRunningVar ?? convention.UnbiasedRunningVar,
            ZeroDebias = SetsZeroDebias ? convention.ZeroDebias : options.ZeroDebias,
        };
    }

    /// <summary>The axis of the channels: what was sent, or else the convention's.</summary>
    public int AxisOfChannels() => ChannelAxis ?? Convention.ChannelAxis;

    private string OfKind => Kind is { } kind ? $" for {kind.WireName}" : "";
}
