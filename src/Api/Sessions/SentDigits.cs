using BnService.Api.Wire;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What the numbers of x were before they were rounded to float32: watched while they arrive, or read again where they came as JSON.</summary>
/// <param name="layout">How a batch of a shape is laid out; null where it is not looked at.</param>
internal sealed class SentDigits(Func<Shape, NormalizationPlan?> layout) : IArrivals
{
    private NormalizationPlan? _plan;
    private LostPrecision? _lost;

    /// <summary>Name of the tensor that is looked at.</summary>
    public const string Input = "x";

    /// <summary>Reads the batch again as it was sent, in float64, where it came as JSON; the caller's to dispose.</summary>
    public Func<Tensor?>? Sent { private get; init; }

    /// <summary>Called when the batch as it was sent is not looked at any more.</summary>
    public Action? Forget { private get; init; }

    /// <inheritdoc/>
    public void Begin(string field, Tensor tensor)
    {
        if (field == Input && tensor.Precision == Precision.Float32) _plan = layout(tensor.Shape);
    }

    /// <inheritdoc/>
    public void Arrived(string field, int count)
    {
    }

    /// <inheritdoc/>
    public void Rounded(string field, ReadOnlySpan<double> sent)
    {
        if (field == Input && _plan is { HasMean: true }) (_lost ??= new(_plan)).Look(sent);
    }

    /// <summary>The statistics that rounding to float32 has spoilt; null for none.</summary>
    /// <param name="plan">How the batch is laid out.</param>
    /// <param name="mean">The mean of each statistic that normalizes it; null where none is subtracted.</param>
    /// <param name="variance">Their variance.</param>
    public LostPrecision? LostFrom(NormalizationPlan plan, double[]? mean, double[] variance)
    {
        if (_lost is null && Sent is null) return null;
        var (some, found) = (false, _lost);
        for (var i = 0; i < mean?.Length && plan.Elements > 0 && !some; i++) some = LostPrecision.MayBeLost(mean[i], variance[i]);
        if (some && found is null)
        {
            using var sent = Sent?.Invoke();
            if (sent is not null)
            {
                _lost = found = new LostPrecision(plan);
                found.Look(sent.Doubles);
            }
        }
        Forget?.Invoke();
        return some ? found : null;
    }
}
