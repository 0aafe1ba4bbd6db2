using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What the numbers of x were before they were rounded to float32: watched while they arrive, or read again where they came as text.</summary>
/// <param name="layout">How a batch of a shape is laid out; asked when the first of its numbers has been rounded.</param>
internal sealed class SentDigits(Func<Shape, Layout> layout) : IArrivals
{
    private Shape? _shape;
    private LostPrecision? _lost;

    /// <summary>Name of the tensor that is looked at.</summary>
    public const string Input = "x";

    /// <summary>Shows the batch as it was sent, in float64, where it came as text that is still there.</summary>
    public Action<Action<Tensor>>? Again { private get; init; }

    /// <summary>Called when the batch as it was sent is not looked at any more.</summary>
    public Action? Forget { private get; init; }

    /// <summary>How a batch lies whose own statistics, or the running ones, normalize it.</summary>
    /// <param name="options">The layer's options.</param>
    /// <param name="usesBatch">Whether they are its own.</param>
    public static Func<Shape, Layout> LayoutOf(NormalizerOptions options, bool usesBatch) => shape =>
        usesBatch ? Layout.ForElements(shape, options) : Layout.ForRunningStatistics(shape, options);

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
        if (field == Input && _shape is not null) (_lost ??= new(layout(_shape))).Look(sent);
    }

    /// <summary>The statistics that rounding to float32 has spoilt; null for none.</summary>
    /// <param name="mean">The mean of each statistic that normalizes the batch; null where none is subtracted.</param>
    /// <param name="variance">Their variance.</param>
    public LostPrecision? LostFrom(double[]? mean, double[] variance)
    {
        var some = false;
        for (var i = 0; i < mean?.Length && !some; i++) some = LostPrecision.MayBeLost(mean[i], variance[i]);
        if (some && _lost is null) Again?.Invoke(Look);
        Forget?.Invoke();
        return some ? _lost : null;
    }

    /// <summary>What is to be said of it; null for nothing.</summary>
    /// <inheritdoc cref="LostFrom"/>
    public Finding? FindingFrom(double[]? mean, double[] variance) => Diagnosis.OfRounding(LostFrom(mean, variance), mean, variance);

    /// <summary>What is to be said of a batch that was normalized with its own statistics or, where there are none, with the layer's.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="statistics">The batch's statistics, or null.</param>
    public Finding? FindingFrom(LayerState layer, StepStatistics? statistics) => !layer.Options.Kind.HasMean ? FindingFrom(null, [])
        : statistics is { Moments: var moments } ? FindingFrom(moments.Mean, moments.Variance(unbiased: false))
        : FindingFrom(layer.Running!.Mean, layer.Running.Variance);

    private void Look(Tensor sent)
    {
        if (sent.Shape.Count == 0) return;
        _lost = new LostPrecision(layout(sent.Shape));
        _lost.Look(sent.Doubles);
    }
}
