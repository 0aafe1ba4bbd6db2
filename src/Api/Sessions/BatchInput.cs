using System.Globalization;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>The tensors of a batch; disposed by its holder.</summary>
/// <param name="X">The batch.</param>
/// <param name="Residual">Added to y before the activation, in the shape of x; null for nothing.</param>
/// <param name="Mask">What counts in the statistics; null for all.</param>
internal sealed record BatchInput(Tensor X, Tensor? Residual, BatchMask? Mask) : IDisposable
{
    /// <summary>gamma and beta of this call alone; null for the session's.</summary>
    public OwnParameters? Own { get; init; }

    public void RequireFit()
    {
        if (Residual is not null && !Residual.Shape.Equals(X.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"residual must have the shape of x, {X.Shape}, got {Residual.Shape}");
    }

    public void RequireGradient(Tensor dy, string name = "dy")
    {
        if (!dy.Shape.Equals(X.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"{name} must have the shape of x, {X.Shape}, got {dy.Shape}");
    }

    /// <summary>The batch on its layer with the parameters of the call, where it brings them.</summary>
    public Batch On(Batch batch) => Own is null ? batch : batch.On(Own.On(batch.Layer));

    public void Dispose()
    {
        X.Dispose();
        Residual?.Dispose();
    }
}

/// <summary>Refusals of batches by what their statistics say.</summary>
internal static class NonFinite
{
    /// <summary>Refuses a batch that is not finite where the session says so.</summary>
    public static void RequireFinite(this StepStatistics statistics, Tensor x, NormalizerOptions options)
    {
        if (options.NonFinite == NonFinitePolicy.Reject && !statistics.IsFinite) throw Refusal(x, statistics.Moments.Count);
    }

    /// <inheritdoc cref="RequireFinite(StepStatistics, Tensor, NormalizerOptions)"/>
    public static void RequireFinite(this Moments moments, Tensor x, NormalizerOptions options)
    {
        if (options.NonFinite == NonFinitePolicy.Reject && !moments.IsFinite) throw Refusal(x, moments.Count);
    }

    /// <summary>Refuses finite values whose squares not even float64 can hold: they would be normalized to 0.</summary>
    public static void RequireRange(this StepStatistics statistics, Tensor x)
    {
        if (x.Precision != Precision.Float64 || statistics.IsFinite || First(x) < x.Shape.Count) return;
        throw Refusal(x, statistics.Moments.Count);
    }

    /// <summary>Refuses to use statistics that no data has touched, where the session asks for that.</summary>
    public static void RequireStatistics(this LayerState layer)
    {
        if (layer.Options.RequireStatistics && layer.Running is { IsInitial: true })
            throw new LayerException(LayerError.NoRunningStatistics, "the session requires running statistics and has seen no batch");
    }

    public static LayerException OfPopulation(Tensor x)
    {
        var index = First(x);
        return new LayerException(LayerError.NonFiniteInput,
            "x must be finite, since it goes into the population statistics: " +
            (index < x.Shape.Count ? Describe(x, index) : "its sums are too large for float64"));
    }

    private static LayerException Refusal(Tensor x, long count)
    {
        var index = First(x);
        return new LayerException(LayerError.NonFiniteInput, index == x.Shape.Count
            ? $"x has finite values, but statistics beyond float64's range ({count} values each): divide x by a constant before it is sent"
            : $"x must be finite, since it moves the running statistics forever: {Describe(x, index)}; "
                + "a session with non_finite propagate lets it through");
    }

    // Index of the first element that is not finite; the length where all are.
    private static int First(Tensor x)
    {
        var index = 0;
        while (index < x.Shape.Count && double.IsFinite(ValueAt(x, index))) index++;
        return index;
    }

    // An element, and where it stands in nested arrays.
    private static string Describe(Tensor x, int index)
    {
        var (place, rest) = (new int[x.Shape.Rank], index);
        for (var axis = place.Length - 1; axis >= 0; axis--) (rest, place[axis]) = Math.DivRem(rest, x.Shape[axis]);
        return string.Create(CultureInfo.InvariantCulture, $"element {index} is {ValueAt(x, index)}, at x[{string.Join("][", place)}]");
    }

    private static double ValueAt(Tensor x, int index) => x.Precision == Precision.Float64 ? x.Doubles[index] : x.Data[index];
}

/// <summary>
/// A training batch that is still arriving: refused as soon as its shape does not fit, and summed while the rest of it is on its way.
/// </summary>
internal sealed class ArrivingBatch(Computing computing, LayerSession session, SentDigits? digits) : IArrivals, IDisposable
{
    private const string Input = SentDigits.Input;
    private ArrivingMoments? _moments;
    private PassMeter.DividedPass? _pass;
    private int _arrived;

    public void Begin(string field, Tensor tensor)
    {
        if (field != Input) return;
        var batch = computing.BatchOf(session.Current.Layer, tensor.Shape);
        if (tensor.Precision == Precision.Float64) return;
        digits?.Begin(field, tensor);
        _moments = batch.Arriving(tensor);
        if (_moments is not null) _pass = computing.Divided(PassKind.Moments, tensor.Shape);
    }

    public void Arrived(string field, int count)
    {
        if (field != Input || _moments is null) return;
        var begun = _pass!.Begin();
        _moments.Advance(count);
        _pass.End(begun, count - _arrived);
        _arrived = count;
    }

    public void Rounded(string field, ReadOnlySpan<double> sent) => digits?.Rounded(field, sent);

    /// <inheritdoc cref="SentDigits.LostFrom"/>
    public LostPrecision? LostFrom(double[]? mean, double[] variance) => digits?.LostFrom(mean, variance);

    /// <summary>The moments of the whole batch; null where they have not been gathered.</summary>
    public Moments? Finish()
    {
        if (_moments is null) return null;
        var begun = _pass!.Begin();
        var moments = _moments.Finish();
        _pass.End(begun, 0);
        _pass.Dispose();
        _moments.Dispose();
        _moments = null;
        return moments;
    }

    public void Dispose()
    {
        _moments?.Dispose();
        _pass?.Dispose();
    }
}

/// <summary>
/// The numbers of x before they were rounded to float32: watched while they arrive, or read again where they came as text.
/// </summary>
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
    public static Func<Shape, Layout> LayoutOf(NormalizerOptions options, bool usesBatch) => shape =>
        usesBatch ? Layout.ForElements(shape, options) : Layout.ForRunningStatistics(shape, options);

    public void Begin(string field, Tensor tensor)
    {
        if (field == Input && tensor.Precision == Precision.Float32) _shape = tensor.Shape;
    }

    public void Arrived(string field, int count)
    {
    }

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

    /// <summary>What is to be said of a batch that was normalized with its own statistics or, without them, with the layer's.</summary>
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
