using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>The passes of a layer of any kind over one batch. All of them leave the layer as it is.</summary>
/// <param name="layer">The layer, sized for the batch.</param>
/// <param name="shape">The shape of the batch.</param>
/// <param name="compute">With what to compute.</param>
public sealed partial class LayerPass(LayerState layer, Shape shape, ComputeSettings compute)
{
    private readonly NormalizerOptions _options = layer.Options;

    /// <summary>The statistics of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="mask">What of it counts; null for all. For kinds over the batch.</param>
    /// <param name="gathered">The moments of the whole batch where they are known already; see <see cref="GathersWhole"/>.</param>
    /// <param name="isTraining">Whether one value per statistic is refused for kinds that normalize each sample by itself, too.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>, or a mask that does not fit.</exception>
    public StepStatistics Statistics<T>(ReadOnlySpan<T> x, BatchMask? mask, Moments? gathered = null, bool isTraining = true)
        where T : unmanaged
    {
        var plan = NormalizationPlan.ForBatch(shape, _options);
        if (gathered is not null)
        {
            plan.RequireVariance(shape, _options.Kind);
            return new([new(plan, 0, 0, shape[0], gathered, false, Correction(gathered))], null);
        }
        if (!_options.Kind.IsOverBatch)
        {
            RequireMask(mask);
            if (_options.IsOverChannels) return StatisticsOfRows(x);
            if (isTraining) plan.RequireVariance(shape, _options.Kind);
            return AsOnePart(plan, Forward.BatchMoments(plan, x, compute));
        }
        var parts = new List<BatchPart>();
        var positions = Positions(plan, mask);
        foreach (var (first, samples) in GhostBatches()) parts.Add(Part(plan, x, first, samples, positions));
        return new(parts, positions);
    }

    /// <summary>Whether one set of moments over the whole batch, without a mask, is all that its statistics are.</summary>
    public bool GathersWhole => _options.Kind.IsOverBatch && (_options.GhostBatchSize is not { } _ || GhostBatches().First().Samples == shape[0]);

    /// <summary>Whether statistics are over the batch, and its output can be computed a stretch at a time.</summary>
    public bool IsOverBatch => _options.Kind.IsOverBatch;

    /// <summary>The passes of another state of the layer over the same batch.</summary>
    /// <param name="other">The other state, sized for the batch.</param>
    public LayerPass With(LayerState other) => new(other, shape, compute);

    /// <summary>The statistics of a batch, corrected towards this layer's running statistics where the kind is batch_renorm.</summary>
    /// <param name="statistics">The batch's statistics, perhaps corrected towards others.</param>
    public StepStatistics Corrected(StepStatistics statistics)
    {
        ArgumentNullException.ThrowIfNull(statistics);
        return _options.Kind != NormalizerKind.BatchRenorm
            ? statistics
            : statistics with { Parts = [.. statistics.Parts.Select(part => part with { Correction = Correction(part.Moments) })] };
    }

    /// <summary>y of a batch a stretch at a time, with its own statistics or with the running ones.</summary>
    /// <param name="statistics">The batch's statistics; null for the running ones.</param>
    public LayerOutput Output(StepStatistics? statistics)
    {
        var plan = NormalizationPlan.ForRunningStatistics(shape, _options);
        if (statistics is null) return new KnownOutput([(0, new(plan, RunningMap(), _options.Activation, compute))]);
        return new KnownOutput([.. statistics.Parts.Select(part =>
        {
            var (gamma, beta, eps, activation) = Parameters(part);
            return (part.Start, new ForwardStretches(part.Plan, AffineMap.Of(part.Moments, gamma, beta, eps), activation, compute));
        })]);
    }

    /// <summary>y of an inference batch whose samples or rows are each normalized by themselves, some of them at a time; for kinds that do that.</summary>
    public LayerOutput OutputBySample() => new SampleOutput(
        layer, _options is { NormalizedShape: { } row, IsOverChannels: false } ? [.. row] : [.. shape.Dimensions.Skip(1)], compute);

    /// <summary>y of a batch, with its own statistics or with the running ones.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="statistics">Its statistics; null for the running ones.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    public void Normalize<T>(ReadOnlySpan<T> x, StepStatistics? statistics, ReadOnlySpan<T> residual, Span<T> y)
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
            Forward.Apply(part.Plan, x.Slice(part.Start, length), part.Moments, Parameters(part), y.Slice(part.Start, length), compute,
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
    public StepStatistics NormalizeAtOnce<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> residual, Span<T> y, bool isTraining = true)
        where T : unmanaged
    {
        if (_options.IsOverChannels) return NormalizeRowsAtOnce(x, residual, y);
        if (_options.Kind.IsOverBatch)
        {
            var statistics = Statistics(x, null);
            Normalize(x, statistics, residual, y);
            return statistics;
        }
        var plan = NormalizationPlan.ForBatch(shape, _options);
        if (isTraining) plan.RequireVariance(shape, _options.Kind);
        var moments = Forward.Train(plan, x, new(layer.EffectiveGamma, layer.Beta, _options.Eps, _options.Activation), y, compute, residual);
        return AsOnePart(plan, moments);
    }

    /// <summary>The gradients of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="dy">The gradient by the output.</param>
    /// <param name="statistics">What normalized it; null for the running statistics.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="dresidual">Receives the gradient by the residual where there is one.</param>
    public ParameterGradients Differentiate<T>(
        ReadOnlySpan<T> x, ReadOnlySpan<T> dy, StepStatistics? statistics, ReadOnlySpan<T> residual, Span<T> dx, Span<T> dresidual)
        where T : unmanaged
    {
        if (statistics is { AreJoint: true }) throw new ArgumentException("joint statistics need the sums of all ranks", nameof(statistics));
        if (statistics is not null && _options.IsOverChannels) return DifferentiateRows(x, dy, statistics, residual, dx, dresidual);
        // dx may hold the gated gradient until it is overwritten, unless masked values still need that afterwards.
        using var scratch = _options.Activation == Activation.Relu && residual.IsEmpty && statistics?.Mask is not null
            ? NativeBuffer.Rent((long)dy.Length * Unsafe.SizeOf<T>())
            : null;
        var gated = !residual.IsEmpty ? dresidual : scratch is null ? dx : scratch.Span<T>(dy.Length);
        ReadOnlySpan<T> gradient = dy;
        if (_options.Activation == Activation.Relu)
        {
            Gate(x, dy, statistics, residual, gated);
            gradient = gated;
        }
        else if (!residual.IsEmpty) dy.CopyTo(dresidual);
        if (statistics is null)
        {
            var plan = NormalizationPlan.ForRunningStatistics(shape, _options);
            return Backward.Inference(plan, x, gradient, layer.Running!, layer.EffectiveGamma, _options.Eps, dx, compute);
        }
        ParameterGradients? sum = null;
        foreach (var part in statistics.Parts)
        {
            var gradients = Differentiate(part, statistics.Mask, x, gradient, dx);
            sum = sum?.Plus(gradients) ?? gradients;
        }
        return sum!;
    }

    private ParameterGradients Differentiate<T>(BatchPart part, bool[]? mask, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Span<T> dx)
        where T : unmanaged
    {
        var (start, length, gamma) = (part.Start, part.Plan.Elements, Parameters(part).Gamma);
        var gradients = Backward.Training(part.Plan, x.Slice(start, length), dy.Slice(start, length), part.Moments, gamma, _options.Eps,
            dx.Slice(start, length), compute, part.IsMasked);
        DifferentiateMasked(part, mask, dy, dx);
        return part.Correction?.Gradients(gradients) ?? gradients;
    }

    // dx of the values that do not count, in place of what it would be if they did.
    private void DifferentiateMasked<T>(BatchPart part, bool[]? mask, ReadOnlySpan<T> dy, Span<T> dx)
        where T : unmanaged
    {
        if (!part.IsMasked) return;
        var positions = Of(mask, part.FirstSample, part.Samples);
        var plan = part.Plan.ForPositions(positions.Count(false));
        var runs = new MaskedRuns(part.Plan.View, positions, kept: false);
        using var memory = NativeBuffer.Rent((long)plan.Elements * Unsafe.SizeOf<T>());
        var gradient = memory.Span<T>(plan.Elements);
        runs.Gather(dy.Slice(part.Start, part.Plan.Elements), gradient);
        Backward.PastStatistics<T>(plan, gradient, part.Moments, Parameters(part).Gamma, _options.Eps, gradient, compute);
        runs.Scatter(gradient, dx.Slice(part.Start, part.Plan.Elements));
    }

    private void Gate<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> dy, StepStatistics? statistics, ReadOnlySpan<T> residual, Span<T> gated)
        where T : unmanaged
    {
        if (statistics is null)
        {
            var plan = NormalizationPlan.ForRunningStatistics(shape, _options);
            if (typeof(T) == typeof(double)) Backward.ThroughRelu(plan, x, dy, layer.Running!.AsMoments(), Parameters(), gated, compute, residual);
            else
            {
                using var map = RunningMap();
                Backward.ThroughRelu(plan, Floats(x), Floats(dy), map, MemoryMarshal.Cast<T, float>(gated), compute, Floats(residual));
            }
            return;
        }
        foreach (var part in statistics.Parts)
        {
            var (start, length) = (part.Start, part.Plan.Elements);
            Backward.ThroughRelu(part.Plan, x.Slice(start, length), dy.Slice(start, length), part.Moments, Parameters(part), gated.Slice(start, length),
                compute, residual.IsEmpty ? [] : residual.Slice(start, length));
        }
    }

    private StepStatistics AsOnePart(NormalizationPlan plan, Moments moments) => new([new BatchPart(plan, 0, 0, shape[0], moments, false, null)], null);

    private AffineMap RunningMap() => AffineMap.Of(layer.Running!, layer.EffectiveGamma, layer.Beta, _options.Eps);

    private LayerParameters Parameters() => new(layer.EffectiveGamma, layer.Beta, _options.Eps, _options.Activation);

    private LayerParameters Parameters(BatchPart part) => part.Correction is { } correction
        ? new(correction.Gamma(layer.EffectiveGamma), correction.Beta(layer.EffectiveGamma, layer.Beta), _options.Eps, _options.Activation)
        : Parameters();

    private BatchPart Part<T>(NormalizationPlan whole, ReadOnlySpan<T> x, int first, int samples, bool[]? mask)
        where T : unmanaged
    {
        var plan = samples == shape[0] ? whole : whole.ForSamples(shape[0], samples);
        var sample = plan.Elements / Math.Max(samples, 1);
        var part = x.Slice(first * sample, plan.Elements);
        var positions = Of(mask, first, samples);
        var isMasked = positions.Contains(false);
        if (isMasked) RequireVariance(positions.Count(true), positions.Length, samples == shape[0] ? "" : $" in the ghost batch of samples {first} to {first + samples - 1}");
        else plan.RequireVariance(shape, _options.Kind);
        var moments = isMasked ? MaskedMoments(plan, part, positions) : Forward.BatchMoments(plan, part, compute);
        return new(plan, first * sample, first, samples, moments, isMasked, Correction(moments));
    }

    private Renormalization? Correction(Moments moments) =>
        _options.Kind == NormalizerKind.BatchRenorm ? Renormalization.Of(moments, layer.Running!, _options) : null;

    // What counts, side by side: its statistics are those of a smaller batch.
    private Moments MaskedMoments<T>(NormalizationPlan plan, ReadOnlySpan<T> x, ReadOnlySpan<bool> positions)
        where T : unmanaged
    {
        var valid = plan.ForPositions(positions.Count(true));
        using var memory = NativeBuffer.Rent((long)valid.Elements * Unsafe.SizeOf<T>());
        var values = memory.Span<T>(valid.Elements);
        new MaskedRuns(plan.View, positions, kept: true).Gather(x, values);
        return Forward.BatchMoments<T>(valid, values, compute);
    }

    // A value for each value of a statistic; null where all of them count.
    private bool[]? Positions(NormalizationPlan plan, BatchMask? mask)
    {
        RequireMask(mask);
        var positions = mask?.Expanded((int)plan.View.CountPerChannel);
        return positions.AsSpan().Contains(false) ? positions : null;
    }

    // Those of some samples.
    private ReadOnlySpan<bool> Of(bool[]? positions, int first, int samples) =>
        positions is null ? [] : positions.AsSpan(first * (positions.Length / shape[0]), samples * (positions.Length / shape[0]));

    private void RequireVariance(long valid, long of, string where)
    {
        if (valid > 1) return;
        var each = _options.Granularity == Granularity.PerActivation ? "activation" : "channel";
        throw new LayerException(LayerError.BatchTooSmall,
            $"mask leaves {valid} of {of} values per {each}{where} in x of shape {shape}: a variance needs 2 or more");
    }

    // A sample that would be left alone joins the ghost batch before it.
    private IEnumerable<(int First, int Samples)> GhostBatches()
    {
        var samples = shape[0];
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
    public void RequireMask(BatchMask? mask) => mask?.RequireFit(shape, _options);
}
