using BnService.Core.Kernels;
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

    internal Batch(LayerState layer, Shape shape, Layout layout, ComputeSettings compute)
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

    /// <summary>
    /// Sums the batch while it arrives in x; null if its moments cannot be taken that way, or are not what normalizes it.
    /// </summary>
    /// <param name="x">The memory that the batch arrives in, which stays the caller's and must outlive the result.</param>
    public ArrivingMoments? Arriving(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return x.Precision == Precision.Float32 && Layer.NormalizesWithBatch && ArrivingMoments.Fits(Layout) && GathersWhole
            ? new(Layout, x, _compute) : null;
    }

    /// <summary>The statistics of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="mask">What of it counts; null for all. For kinds over the batch.</param>
    /// <param name="gathered">The moments of the whole batch where they are known already; see <see cref="GathersWhole"/>.</param>
    /// <param name="isTraining">Whether one value per statistic is refused for kinds that normalize each sample by itself, too.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>, or a mask that does not fit.</exception>
    public StepStatistics Measure(Elements x, BatchMask? mask, Moments? gathered = null, bool isTraining = true)
    {
        if (gathered is not null)
        {
            Layout.RequireVariance(_shape, _options.Kind);
            return AsOnePart(gathered);
        }
        var positions = Positions(mask);
        if (!_options.Kind.IsOverBatch)
        {
            if (_options.IsOverChannels)
            {
                using var rows = Rows.Gathered(x);
                return OverRows.Measure(rows, null);
            }
            if (isTraining) Layout.RequireVariance(_shape, _options.Kind);
            return AsOnePart(Sum(x));
        }
        var parts = new List<BatchPart>();
        foreach (var (first, samples) in GhostBatches()) parts.Add(Part(x, first, samples, positions));
        return new(parts, positions);
    }

    /// <summary>The moments of all that counts in a batch, however few values that are. For kinds over the batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="mask">What of it counts; null for all.</param>
    /// <exception cref="LayerException">A mask that does not fit.</exception>
    public Moments MomentsOf(Elements x, BatchMask? mask) =>
        Positions(mask) is { } positions ? MaskedMoments(Layout, x, positions) : Sum(x);

    /// <summary>The moments of a batch that running statistics would take or be compared with, whatever the kind.</summary>
    public Moments RunningMoments(Elements x) => As(RunningLayout).Sum(x);

    /// <summary>Count, mean and M2 of every statistic, in double: relative error ≤ 1e-12 at any size and layout.</summary>
    /// <returns>Moments that are finite if and only if x is. For RMS the mean is 0 and M2 is Σx².</returns>
    internal unsafe Moments Sum(Elements x)
    {
        Layout.RequireLength(x.Length, nameof(x));
        if (Layout.Elements == 0) return Moments.Empty(Layout.Statistics);
        if (x.AreDouble) return Float64Forward.BatchMoments(Layout, x.Doubles, _compute);
        var moments = Moments.Unset(Layout.Count, Layout.Statistics);
        fixed (float* source = x.Singles) Slices.Run(Layout, new MomentsOfSlice(Layout, source, moments), _compute);
        return moments;
    }

    /// <summary>Whether one set of moments over the whole batch, without a mask, is all that its statistics are.</summary>
    public bool GathersWhole =>
        _options.Kind.IsOverBatch && (_options.GhostBatchSize is not { } _ || GhostBatches().First().Samples == _shape[0]);

    /// <summary>Whether statistics are over the batch, and its output can be computed a part at a time.</summary>
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

    private StepStatistics AsOnePart(Moments moments) =>
        new([new BatchPart(Layout, 0, 0, _shape[0], moments, false, Correction(moments))], null);

    // The same layer on another layout, of some of the batch.
    private Batch As(Layout layout) => new(Layer, _shape, layout, _compute);

    // A part with the gamma and beta that it is normalized with.
    private Batch As(BatchPart part)
    {
        if (part.Correction is not { } correction) return As(part.Layout);
        var gamma = Layer.EffectiveGamma;
        return new(Layer with
        {
            Options = _options with { GammaOffset = 0 },
            Gamma = correction.Gamma(gamma),
            Beta = correction.Beta(gamma, Layer.Beta),
        }, _shape, part.Layout, _compute);
    }

    // Kinds over rows with channel_axis 1 (as in ConvNeXt): the channels of each position of [N, C, spatial…] are gathered into a row, the
    // rows are normalized as ever, and what comes of them goes back.
    private PositionRows Rows => new(_shape, _compute);

    private Batch OverRows => Of(Layer with { Options = _options with { IsOverChannels = false } }, Rows.Shape, _compute);

    private BatchPart Part(Elements x, int first, int samples, bool[]? mask)
    {
        var layout = samples == _shape[0] ? Layout : Layout.ForSamples(_shape[0], samples);
        var sample = layout.Elements / Math.Max(samples, 1);
        var part = x.Slice(first * sample, layout.Elements);
        var positions = Of(mask, first, samples);
        var isMasked = positions.Contains(false);
        if (!isMasked) layout.RequireVariance(_shape, _options.Kind);
        else
        {
            RequireVariance(positions.Count(true), positions.Length,
                samples == _shape[0] ? "" : $" in the ghost batch of samples {first} to {first + samples - 1}");
        }
        var moments = isMasked ? MaskedMoments(layout, part, positions) : As(layout).Sum(part);
        return new(layout, first * sample, first, samples, moments, isMasked, Correction(moments));
    }

    private Renormalization? Correction(Moments moments) =>
        _options.Kind == NormalizerKind.BatchRenorm ? Renormalization.Of(moments, Layer.Running!, _options) : null;

    // What counts, side by side: its statistics are those of a smaller batch.
    private Moments MaskedMoments(Layout layout, Elements x, ReadOnlySpan<bool> positions)
    {
        var valid = layout.ForPositions(positions.Count(true));
        using var values = Tensor.Rent(new Shape(valid.Elements), x.Precision);
        new MaskedRuns(layout.View, positions, kept: true).Gather(x, values);
        return As(valid).Sum(values);
    }

    // A value for each value of a statistic; null where all of them count.
    private bool[]? Positions(BatchMask? mask)
    {
        RequireMask(mask);
        var positions = mask?.Expanded((int)Layout.View.CountPerChannel);
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

    private readonly unsafe struct MomentsOfSlice(Layout layout, float* x, Moments moments) : ISliceWork
    {
        public void Run(int start, ChannelView view, int statistic, ComputeSettings compute)
        {
            var (terms, firstValues) = (new MomentTerms(x + start), new FirstValues(x + start, view));
            var noMap = new MapTarget(null, null, null, 0, int.MaxValue);
            if (layout.ChannelsPerStatistic == 1)
                ChannelSums.Run(terms, new ByVectors<MomentsFinish>(new(firstValues, moments, statistic, layout.HasMean, noMap)), view,
                    compute);
            else
                ChannelSums.Run(terms, new GroupMomentsFinish(firstValues, moments, statistic, layout.ChannelsPerStatistic, noMap), view,
                    compute);
        }
    }
}
