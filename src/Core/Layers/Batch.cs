using System.Runtime.CompilerServices;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>
/// A batch as a layer of any kind sees it: the layout, the layer sized for it, and with what to compute, worked out once. Nothing that is
/// done with it changes the layer.
/// </summary>
public sealed partial class Batch
{
    private readonly Shape _shape;
    private readonly ComputeSettings _compute;
    private readonly NormalizerOptions _options;

    private Batch(LayerState layer, Shape shape, Layout layout, ComputeSettings compute)
    {
        (Layer, _shape, Layout, _compute, _options) = (layer, shape, layout, compute, layer.Options);
    }

    /// <summary>How the batch lies.</summary>
    public Layout Layout { get; }

    /// <summary>The layer, sized for the batch.</summary>
    public LayerState Layer { get; }

    /// <summary>How it lies for running statistics, which belong to channels whatever the kind.</summary>
    public Layout RunningLayout => field ??= Layout.ForRunningStatistics(_shape, _options);

    /// <summary>A batch of a shape.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="shape">The shape of the batch.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="require">Refuses a layout before the layer is sized for it; null for none.</param>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/> if the shape does not fit the layer.</exception>
    public static Batch Of(LayerState layer, Shape shape, ComputeSettings compute, Action<Layout>? require = null)
    {
        ArgumentNullException.ThrowIfNull(layer);
        var layout = Layout.Of(shape, layer.Options);
        require?.Invoke(layout);
        return new Batch(layer.SizedFor(layout), shape, layout, compute);
    }

    /// <summary>The same batch on another state of the layer, whose options give it the same layout.</summary>
    public Batch On(LayerState other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new(other.SizedFor(Layout), _shape, Layout, _compute);
    }

    /// <summary>Sums the batch while it arrives in x; null if its moments cannot be taken that way, or are not what normalizes it.</summary>
    /// <param name="x">The memory that the batch arrives in, which stays the caller's and must outlive the result.</param>
    public ArrivingMoments? Arriving(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return x.Precision == Precision.Float32 && Layer.NormalizesWithBatch && ArrivingMoments.Fits(Layout) && GathersWhole ? new(Layout, x, _compute) : null;
    }

    /// <summary>The statistics of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="mask">What of it counts; null for all. For kinds over the batch.</param>
    /// <param name="gathered">The moments of the whole batch where they are known already; see <see cref="GathersWhole"/>.</param>
    /// <param name="isTraining">Whether one value per statistic is refused for kinds that normalize each sample by itself, too.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>, or a mask that does not fit.</exception>
    public StepStatistics Measure<T>(ReadOnlySpan<T> x, BatchMask? mask, Moments? gathered = null, bool isTraining = true)
        where T : unmanaged
    {
        var plan = Layout;
        if (gathered is not null)
        {
            plan.RequireVariance(_shape, _options.Kind);
            return new([new(plan, 0, 0, _shape[0], gathered, false, Correction(gathered))], null);
        }
        if (!_options.Kind.IsOverBatch)
        {
            RequireMask(mask);
            if (_options.IsOverChannels) return StatisticsOfRows(x);
            if (isTraining) plan.RequireVariance(_shape, _options.Kind);
            return AsOnePart(plan, Forward.BatchMoments(plan, x, _compute));
        }
        var parts = new List<BatchPart>();
        var positions = Positions(plan, mask);
        foreach (var (first, samples) in GhostBatches()) parts.Add(Part(plan, x, first, samples, positions));
        return new(parts, positions);
    }

    /// <summary>Whether one set of moments over the whole batch, without a mask, is all that its statistics are.</summary>
    public bool GathersWhole => _options.Kind.IsOverBatch && (_options.GhostBatchSize is not { } _ || GhostBatches().First().Samples == _shape[0]);

    /// <summary>Whether statistics are over the batch, and its output can be computed a stretch at a time.</summary>
    public bool IsOverBatch => _options.Kind.IsOverBatch;

    /// <summary>The statistics of a batch, corrected towards this layer's running statistics where the kind is batch_renorm.</summary>
    /// <param name="statistics">The batch's statistics, perhaps corrected towards others.</param>
    public StepStatistics Corrected(StepStatistics statistics)
    {
        ArgumentNullException.ThrowIfNull(statistics);
        return _options.Kind != NormalizerKind.BatchRenorm
            ? statistics
            : statistics with { Parts = [.. statistics.Parts.Select(part => part with { Correction = Correction(part.Moments) })] };
    }

    /// <summary>
    /// y of a batch a part at a time, with its own statistics, with the running ones, or where there are none of either with those of each
    /// sample or row, whole ones at a time.
    /// </summary>
    /// <param name="statistics">The batch's statistics; null for the running ones, or those of each sample.</param>
    public LayerOutput Output(StepStatistics? statistics)
    {
        if (statistics is null && Layer.Running is null)
        {
            return new SampleOutput(
                Layer, _options is { NormalizedShape: { } row, IsOverChannels: false } ? [.. row] : [.. _shape.Dimensions.Skip(1)], _compute);
        }
        var plan = RunningLayout;
        if (statistics is null) return new KnownOutput([(0, new(plan, RunningMap(), _options.Activation, _compute))]);
        return new KnownOutput([.. statistics.Parts.Select(part =>
        {
            var (gamma, beta, eps, activation) = Parameters(part);
            return (part.Start, new ForwardStretches(part.Plan, AffineMap.Of(part.Moments, gamma, beta, eps), activation, _compute));
        })]);
    }

    /// <summary>y of a batch, with its own statistics or with the running ones.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="statistics">Its statistics; null for the running ones.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    public void Write<T>(ReadOnlySpan<T> x, StepStatistics? statistics, ReadOnlySpan<T> residual, Span<T> y)
        where T : unmanaged
    {
        if (statistics is null)
        {
            NormalizeByRunning(x, residual, y);
            return;
        }
        if (_options.IsOverChannels)
        {
            NormalizeRows(x, statistics, residual, y);
            return;
        }
        foreach (var part in statistics.Parts)
        {
            var length = part.Plan.Elements;
            Forward.Apply(part.Plan, x.Slice(part.Start, length), part.Moments, Parameters(part), y.Slice(part.Start, length), _compute,
                residual.IsEmpty ? [] : residual.Slice(part.Start, length));
        }
    }

    /// <summary>
    /// The statistics of a batch and y in one pass where that is possible. For kinds whose statistics move nothing.
    /// </summary>
    /// <remarks>
    /// Inference of one value per statistic is x̂ = 0 and y = β where each sample is normalized by itself, as in PyTorch's GroupNorm and in
    /// ONNX. Statistics over a batch of one value are refused in inference too, as PyTorch does where it tracks none.
    /// </remarks>
    /// <param name="x">The batch.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    /// <param name="isTraining">Whether one value per statistic is refused for kinds that normalize each sample by itself, too.</param>
    public StepStatistics MeasureAndWrite<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> residual, Span<T> y, bool isTraining = true)
        where T : unmanaged
    {
        if (_options.IsOverChannels) return NormalizeRowsAtOnce(x, residual, y);
        if (_options.Kind.IsOverBatch)
        {
            var statistics = Measure(x, null);
            Write(x, statistics, residual, y);
            return statistics;
        }
        var plan = Layout;
        if (isTraining) plan.RequireVariance(_shape, _options.Kind);
        var moments = Forward.Train(plan, x, new(Layer.EffectiveGamma, Layer.Beta, _options.Eps, _options.Activation), y, _compute, residual);
        return AsOnePart(plan, moments);
    }

    private StepStatistics AsOnePart(Layout plan, Moments moments) => new([new BatchPart(plan, 0, 0, _shape[0], moments, false, null)], null);

    private AffineMap RunningMap() => AffineMap.Of(Layer.Running!, Layer.EffectiveGamma, Layer.Beta, _options.Eps);

    private LayerParameters Parameters() => new(Layer.EffectiveGamma, Layer.Beta, _options.Eps, _options.Activation);

    private LayerParameters Parameters(BatchPart part) => part.Correction is { } correction
        ? new(correction.Gamma(Layer.EffectiveGamma), correction.Beta(Layer.EffectiveGamma, Layer.Beta), _options.Eps, _options.Activation)
        : Parameters();

    private BatchPart Part<T>(Layout whole, ReadOnlySpan<T> x, int first, int samples, bool[]? mask)
        where T : unmanaged
    {
        var plan = samples == _shape[0] ? whole : whole.ForSamples(_shape[0], samples);
        var sample = plan.Elements / Math.Max(samples, 1);
        var part = x.Slice(first * sample, plan.Elements);
        var positions = Of(mask, first, samples);
        var isMasked = positions.Contains(false);
        if (isMasked) RequireVariance(positions.Count(true), positions.Length, samples == _shape[0] ? "" : $" in the ghost batch of samples {first} to {first + samples - 1}");
        else plan.RequireVariance(_shape, _options.Kind);
        var moments = isMasked ? MaskedMoments(plan, part, positions) : Forward.BatchMoments(plan, part, _compute);
        return new(plan, first * sample, first, samples, moments, isMasked, Correction(moments));
    }

    private Renormalization? Correction(Moments moments) =>
        _options.Kind == NormalizerKind.BatchRenorm ? Renormalization.Of(moments, Layer.Running!, _options) : null;

    // What counts, side by side: its statistics are those of a smaller batch.
    private Moments MaskedMoments<T>(Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<bool> positions)
        where T : unmanaged
    {
        var valid = plan.ForPositions(positions.Count(true));
        using var memory = NativeBuffer.Rent((long)valid.Elements * Unsafe.SizeOf<T>());
        var values = memory.Span<T>(valid.Elements);
        new MaskedRuns(plan.View, positions, kept: true).Gather(x, values);
        return Forward.BatchMoments<T>(valid, values, _compute);
    }

    // A value for each value of a statistic; null where all of them count.
    private bool[]? Positions(Layout plan, BatchMask? mask)
    {
        RequireMask(mask);
        var positions = mask?.Expanded((int)plan.View.CountPerChannel);
        return positions.AsSpan().Contains(false) ? positions : null;
    }

    // Those of some samples.
    private ReadOnlySpan<bool> Of(bool[]? positions, int first, int samples) =>
        positions is null ? [] : positions.AsSpan(first * (positions.Length / _shape[0]), samples * (positions.Length / _shape[0]));

    private void RequireVariance(long valid, long of, string where)
    {
        if (valid > 1) return;
        var each = _options.Granularity == Granularity.PerActivation ? "activation" : "channel";
        throw new LayerException(LayerError.BatchTooSmall,
            $"mask leaves {valid} of {of} values per {each}{where} in x of shape {_shape}: a variance needs 2 or more");
    }

    // A sample that would be left alone joins the ghost batch before it.
    private IEnumerable<(int First, int Samples)> GhostBatches()
    {
        var samples = _shape[0];
        var size = _options.GhostBatchSize ?? Math.Max(samples, 1);
        for (var first = 0; first < samples || first == 0;)
        {
            var count = samples - first - size <= 1 ? samples - first : size;
            yield return (first, count);
            if (count == 0) yield break;
            first += count;
        }
    }

    /// <summary>Refuses a mask that does not fit the batch or the kind.</summary>
    /// <param name="mask">What of it counts; null for all.</param>
    /// <exception cref="LayerException">It does not fit.</exception>
    public void RequireMask(BatchMask? mask) => mask?.RequireFit(_shape, _options);
}
