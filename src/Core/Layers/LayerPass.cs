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
    /// <param name="mask">Which samples are valid; null for all. For kinds over the batch.</param>
    /// <param name="gathered">The moments of the whole batch where they are known already; see <see cref="GathersWhole"/>.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>, or a mask that does not fit.</exception>
    public StepStatistics Statistics(ReadOnlySpan<float> x, bool[]? mask, Moments? gathered = null)
    {
        var plan = NormalizationPlan.ForBatch(shape, _options);
        if (gathered is not null)
        {
            plan.RequireVariance(shape);
            return new([new(plan, 0, 0, shape[0], gathered, false, Correction(gathered))], null);
        }
        RequireMask(mask);
        if (!_options.Kind.IsOverBatch)
        {
            plan.RequireVariance(shape);
            return AsOnePart(plan, Forward.BatchMoments(plan, x, compute));
        }
        var parts = new List<BatchPart>();
        foreach (var (first, samples) in GhostBatches()) parts.Add(Part(plan, x, first, samples, mask));
        return new(parts, mask is not null && Array.TrueForAll(mask, isValid => isValid) ? null : mask);
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

    /// <summary>y of a batch whose samples or rows are each normalized by themselves, some of them at a time; for kinds that do that.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>.</exception>
    public LayerOutput OutputBySample()
    {
        NormalizationPlan.ForBatch(shape, _options).RequireVariance(shape);
        return new SampleOutput(layer, _options.NormalizedShape is { } row ? [.. row] : [.. shape.Dimensions.Skip(1)], compute);
    }

    /// <summary>y of a batch, with its own statistics or with the running ones.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="statistics">Its statistics; null for the running ones.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    public void Normalize(ReadOnlySpan<float> x, StepStatistics? statistics, ReadOnlySpan<float> residual, Span<float> y)
    {
        if (statistics is null)
        {
            using var map = RunningMap();
            Forward.Apply(NormalizationPlan.ForRunningStatistics(shape, _options), x, map, _options.Activation, y, compute, residual);
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
    /// <param name="x">The batch.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    public StepStatistics NormalizeAtOnce(ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
    {
        if (_options.Kind.IsOverBatch)
        {
            var statistics = Statistics(x, null);
            Normalize(x, statistics, residual, y);
            return statistics;
        }
        var plan = NormalizationPlan.ForBatch(shape, _options);
        plan.RequireVariance(shape);
        var moments = Forward.Train(plan, x, new(layer.Gamma, layer.Beta, _options.Eps, _options.Activation), y, compute, residual);
        return AsOnePart(plan, moments);
    }

    /// <summary>The gradients of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="dy">The gradient by the output.</param>
    /// <param name="statistics">What normalized it; null for the running statistics.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="dresidual">Receives the gradient by the residual where there is one.</param>
    public ParameterGradients Differentiate(
        ReadOnlySpan<float> x, ReadOnlySpan<float> dy, StepStatistics? statistics, ReadOnlySpan<float> residual, Span<float> dx, Span<float> dresidual)
    {
        if (statistics is { AreJoint: true }) throw new ArgumentException("joint statistics need the sums of all ranks", nameof(statistics));
        // dx may hold the gated gradient until it is overwritten, unless masked samples still need that afterwards.
        using var scratch = _options.Activation == Activation.Relu && residual.IsEmpty && statistics?.Mask is not null
            ? NativeBuffer.Rent((long)dy.Length * sizeof(float))
            : null;
        var gated = !residual.IsEmpty ? dresidual : scratch is null ? dx : scratch.Span<float>(dy.Length);
        ReadOnlySpan<float> gradient = dy;
        if (_options.Activation == Activation.Relu)
        {
            Gate(x, dy, statistics, residual, gated);
            gradient = gated;
        }
        else if (!residual.IsEmpty) dy.CopyTo(dresidual);
        if (statistics is null)
            return Backward.Inference(NormalizationPlan.ForRunningStatistics(shape, _options), x, gradient, layer.Running!, layer.Gamma, _options.Eps, dx, compute);
        ParameterGradients? sum = null;
        foreach (var part in statistics.Parts)
        {
            var gradients = Differentiate(part, statistics.Mask, x, gradient, dx);
            sum = sum?.Plus(gradients) ?? gradients;
        }
        return sum!;
    }

    private ParameterGradients Differentiate(BatchPart part, bool[]? mask, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx)
    {
        var (start, length, gamma) = (part.Start, part.Plan.Elements, Parameters(part).Gamma);
        var gradients = Backward.Training(part.Plan, x.Slice(start, length), dy.Slice(start, length), part.Moments, gamma, _options.Eps,
            dx.Slice(start, length), compute, part.IsMasked);
        DifferentiateMasked(part, mask, dy, dx);
        return part.Correction?.Gradients(gradients) ?? gradients;
    }

    // dx of the samples that are not valid, in place of what it would be if they were.
    private void DifferentiateMasked(BatchPart part, bool[]? mask, ReadOnlySpan<float> dy, Span<float> dx)
    {
        if (!part.IsMasked) return;
        var (gamma, one) = (Parameters(part).Gamma, part.Plan.ForSamples(part.Samples, 1));
        for (var sample = 0; sample < part.Samples; sample++)
        {
            if (mask![part.FirstSample + sample]) continue;
            var at = part.Start + (sample * one.Elements);
            Backward.PastStatistics(one, dy.Slice(at, one.Elements), part.Moments, gamma, _options.Eps, dx.Slice(at, one.Elements), compute);
        }
    }

    private void Gate(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, StepStatistics? statistics, ReadOnlySpan<float> residual, Span<float> gated)
    {
        if (statistics is null)
        {
            using var map = RunningMap();
            Backward.ThroughRelu(NormalizationPlan.ForRunningStatistics(shape, _options), x, dy, map, gated, compute, residual);
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

    private AffineMap RunningMap() => AffineMap.Of(layer.Running!, layer.Gamma, layer.Beta, _options.Eps);

    private LayerParameters Parameters(BatchPart part) => part.Correction is { } correction
        ? new(correction.Gamma(layer.Gamma), correction.Beta(layer.Gamma, layer.Beta), _options.Eps, _options.Activation)
        : new(layer.Gamma, layer.Beta, _options.Eps, _options.Activation);

    private BatchPart Part(NormalizationPlan whole, ReadOnlySpan<float> x, int first, int samples, bool[]? mask)
    {
        var plan = samples == shape[0] ? whole : whole.ForSamples(shape[0], samples);
        var sample = plan.Elements / Math.Max(samples, 1);
        var part = x.Slice(first * sample, plan.Elements);
        var valid = mask is null ? samples : mask.AsSpan(first, samples).Count(true);
        var isMasked = valid < samples;
        if (isMasked && valid == 0)
            throw new LayerException(LayerError.BatchTooSmall, $"mask must leave a sample of each batch, got none of samples {first} to {first + samples - 1}");
        var statistics = isMasked ? whole.ForSamples(shape[0], valid) : plan;
        statistics.RequireVariance(shape);
        var moments = isMasked ? MaskedMoments(statistics, part, mask.AsSpan(first, samples), sample) : Forward.BatchMoments(plan, part, compute);
        return new(plan, first * sample, first, samples, moments, isMasked, Correction(moments));
    }

    private Renormalization? Correction(Moments moments) =>
        _options.Kind == NormalizerKind.BatchRenorm ? Renormalization.Of(moments, layer.Running!, _options) : null;

    // Valid samples side by side: their statistics are those of a smaller batch.
    private Moments MaskedMoments(NormalizationPlan plan, ReadOnlySpan<float> x, ReadOnlySpan<bool> mask, int sample)
    {
        using var memory = NativeBuffer.Rent((long)plan.Elements * sizeof(float));
        var valid = memory.Span<float>(plan.Elements);
        var rest = valid;
        for (var i = 0; i < mask.Length; i++)
        {
            if (!mask[i]) continue;
            x.Slice(i * sample, sample).CopyTo(rest);
            rest = rest[sample..];
        }
        return Forward.BatchMoments(plan, valid, compute);
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
    /// <param name="mask">Which samples are valid; null for all.</param>
    /// <exception cref="LayerException">It does not fit.</exception>
    public void RequireMask(bool[]? mask)
    {
        if (mask is null) return;
        if (!_options.Kind.IsOverBatch)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"mask belongs to batch_norm and batch_renorm; {_options.Kind.WireName} normalizes each sample by itself");
        }
        if (mask.Length != shape[0])
            throw new LayerException(LayerError.ShapeMismatch, $"mask must have one value per sample, {shape[0]}, got {mask.Length}");
    }
}
