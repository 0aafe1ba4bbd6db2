using BnService.Api.Wire;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What the numbers of x were before they were rounded to float32: watched while they arrive, or read again where they came as JSON.</summary>
/// <param name="layout">How a batch of a shape is laid out.</param>
internal sealed class SentDigits(Func<Shape, NormalizationPlan> layout) : IArrivals
{
    private Shape? _shape;
    private LostPrecision? _lost;

    /// <summary>Name of the tensor that is looked at.</summary>
    public const string Input = "x";

    /// <summary>Reads the batch again as it was sent, in float64, where it came as JSON; the caller's to dispose.</summary>
    public Func<BatchInput?>? Sent { private get; init; }

    /// <summary>Called when the batch as it was sent is not looked at any more.</summary>
    public Action? Forget { private get; init; }

    /// <summary>Whether there may be digits that float32 has not.</summary>
    public bool MayHaveMore => _lost is not null || Sent is not null;

    /// <summary>How the elements of a batch lie whose statistics, its own or the running ones, normalize it.</summary>
    /// <param name="options">The layer's options.</param>
    /// <param name="isByBatch">Whether it is its own.</param>
    /// <param name="shape">The batch's shape.</param>
    public static NormalizationPlan LayoutOf(NormalizerOptions options, bool isByBatch, Shape shape) => isByBatch
        ? NormalizationPlan.ForElements(shape, options)
        : NormalizationPlan.ForRunningStatistics(shape, options);

    /// <inheritdoc/>
    public void Begin(string field, Tensor tensor)
    {
        if (field == Input && tensor.Precision == Precision.Float32) _shape = tensor.Shape;
    }

    /// <inheritdoc/>
    public void Arrived(string field, int count)
    {
    }

    /// <inheritdoc/>
    public void Rounded(string field, ReadOnlySpan<double> sent)
    {
        if (field != Input || _shape is null) return;
        // Most batches come as float32, and nothing is rounded of them.
        if (_lost is null && layout(_shape) is { HasMean: true } plan) _lost = new LostPrecision(plan);
        if (_lost is null) _shape = null;
        else _lost.Look(sent);
    }

    /// <summary>The statistics that rounding to float32 has spoilt; null for none.</summary>
    /// <param name="plan">How the batch is laid out.</param>
    /// <param name="mean">The mean of each statistic that normalizes it; null where none is subtracted.</param>
    /// <param name="variance">Their variance.</param>
    public LostPrecision? LostFrom(NormalizationPlan plan, double[]? mean, double[] variance)
    {
        if (!MayHaveMore) return null;
        var (some, found) = (false, _lost);
        for (var i = 0; i < mean?.Length && plan.Elements > 0 && !some; i++) some = LostPrecision.MayBeLost(mean[i], variance[i]);
        if (some && found is null)
        {
            using var sent = Sent?.Invoke();
            if (sent is not null)
            {
                _lost = found = new LostPrecision(plan);
                found.Look(sent.X.Doubles);
            }
        }
        Forget?.Invoke();
        return some ? found : null;
    }
}
