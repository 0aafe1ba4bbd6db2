using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// The gradients of a batch that is there as a whole; those of several ranks are in Batch.Joined.cs.
public sealed partial class Batch
{
    /// <summary>The gradients of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="dy">The gradient by the output.</param>
    /// <param name="statistics">What normalized it; null for the running statistics.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="dresidual">Receives the gradient by the residual where there is one.</param>
    public ParameterGradients Gradients<T>(
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
            var plan = RunningLayout;
            return Backward.Inference(plan, x, gradient, Layer.Running!, Layer.EffectiveGamma, _options.Eps, dx, _compute);
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
            dx.Slice(start, length), _compute, part.IsMasked);
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
        Backward.PastStatistics<T>(plan, gradient, part.Moments, Parameters(part).Gamma, _options.Eps, gradient, _compute);
        runs.Scatter(gradient, dx.Slice(part.Start, part.Plan.Elements));
    }

    private void Gate<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> dy, StepStatistics? statistics, ReadOnlySpan<T> residual, Span<T> gated)
        where T : unmanaged
    {
        if (statistics is null)
        {
            var plan = RunningLayout;
            if (typeof(T) == typeof(double)) Backward.ThroughRelu(plan, x, dy, Layer.Running!.AsMoments(), Parameters(), gated, _compute, residual);
            else
            {
                using var map = RunningMap();
                Backward.ThroughRelu(plan, Floats(x), Floats(dy), map, MemoryMarshal.Cast<T, float>(gated), _compute, Floats(residual));
            }
            return;
        }
        foreach (var part in statistics.Parts)
        {
            var (start, length) = (part.Start, part.Plan.Elements);
            Backward.ThroughRelu(part.Plan, x.Slice(start, length), dy.Slice(start, length), part.Moments, Parameters(part), gated.Slice(start, length),
                _compute, residual.IsEmpty ? [] : residual.Slice(start, length));
        }
    }
}
