using BnService.Core.Kernels;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>The gradients of gamma and beta, one value per statistic.</summary>
/// <param name="DGamma">dγ = Σg·x̂.</param>
/// <param name="DBeta">dβ = Σg.</param>
public sealed record ParameterGradients(double[] DGamma, double[] DBeta);

/// <summary>
/// The backward pass. <c>dx</c> may be the same memory as <c>dy</c>: an element is read before it is written.
/// </summary>
public static unsafe class Backward
{
    // Below this share of its terms' squared norm dx has cancelled so far that float terms would cost it more than 2e-6 of its norm.
    private const double CancellationShare = 1.0 / 64;

    private const int Center = AffineMap.Center, A = 1, B = 2, C = 3;

    /// <summary>
    /// Gradients through a batch that was normalized with its own statistics:
    /// dx = γ·s·[g − dβ/m − x̂·dγ/m] (Ioffe &amp; Szegedy 2015).
    /// </summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="batch">The moments of x.</param>
    /// <param name="gamma">γ with which the batch was normalized; null for 1.</param>
    /// <param name="eps">ε with which the batch was normalized.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="compute">With what to compute.</param>
    public static ParameterGradients Training(
        NormalizationPlan plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Moments batch, double[]? gamma, double eps,
        Span<float> dx, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(batch);
        RequireLengths(plan, x, dy, dx);
        using var constants = new ChannelConstants(plan.Statistics, 4);
        fixed (float* source = x, gradient = dy, destination = dx)
        {
            var gradients = Sums(plan, source, gradient, batch.Mean, compute, out var squares);
            for (var c = 0; c < plan.Statistics; c++)
            {
                var s = AffineMap.InverseDeviation(batch.M2[c] / Math.Max(batch.Count, 1), eps);
                var center = AffineMap.CenterOf(batch.Mean[c]);
                var residual = batch.Mean[c] - center + batch.MeanResidual[c];
                var dBeta = gradients.DBeta[c];
                var dGamma = gradients.DGamma[c] = s * (gradients.DGamma[c] - (residual * dBeta));
                var a = (gamma?[c] ?? 1) * s;
                var b = -a * s * dGamma / batch.Count;
                SetConstants(constants, c, center, a, b, (-a * dBeta / batch.Count) - (b * residual));
                if (Remainder(squares[c], dBeta, dGamma, batch.M2[c] * s * s, batch.Count) < CancellationShare * squares[c])
                    constants.RequireDouble(c);
            }
            Forward.Run(plan, new TrainingInputGradient(source, gradient, destination), constants, compute);
            return gradients;
        }
    }

    /// <summary>
    /// Gradients through an inference or a frozen layer, whose statistics do not depend on x:
    /// dx = γ·s·g, dγ = Σg·(x − μ)·s, dβ = Σg.
    /// </summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The input.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="running">The running statistics.</param>
    /// <param name="gamma">γ; null for 1.</param>
    /// <param name="eps">ε.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="compute">With what to compute.</param>
    public static ParameterGradients Inference(
        NormalizationPlan plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, RunningStatistics running, double[]? gamma, double eps,
        Span<float> dx, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(running);
        RequireLengths(plan, x, dy, dx);
        using var constants = new ChannelConstants(plan.Statistics, 1);
        fixed (float* source = x, gradient = dy, destination = dx)
        {
            var gradients = Sums(plan, source, gradient, running.Mean, compute, out _);
            for (var c = 0; c < plan.Statistics; c++)
            {
                var s = AffineMap.InverseDeviation(running.Variance[c], eps);
                var residual = running.Mean[c] - AffineMap.CenterOf(running.Mean[c]);
                gradients.DGamma[c] = s * (gradients.DGamma[c] - (residual * gradients.DBeta[c]));
                constants[0, c] = (gamma?[c] ?? 1) * s;
            }
            Forward.Run(plan, new InferenceInputGradient(gradient, destination), constants, compute);
            return gradients;
        }
    }

    /// <summary>The gradient before the activation: dy where relu let the value pass, 0 where it did not (y ≤ 0).</summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The input of the normalizer.</param>
    /// <param name="dy">The gradient behind the activation.</param>
    /// <param name="map">The affine map of the forward pass.</param>
    /// <param name="gated">Receives the gradient; may be dy's memory.</param>
    /// <param name="compute">With what to compute.</param>
    public static void ThroughRelu(
        NormalizationPlan plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, AffineMap map, Span<float> gated, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(map);
        RequireLengths(plan, x, dy, gated);
        fixed (float* source = x, gradient = dy, destination = gated)
            Forward.Run(plan, new Affine<GatedGradient>(source, gradient, destination), map.Constants, compute);
    }

    // dβ = Σg and, still without its factor s and the mean's residual, dγ = Σg·(x − (float)μ).
    private static ParameterGradients Sums(
        NormalizationPlan plan, float* x, float* dy, double[] mean, ComputeSettings compute, out double[] squares)
    {
        var channels = plan.Statistics;
        var gradients = new ParameterGradients(new double[channels], new double[channels]);
        squares = new double[channels];
        if (plan.Count == 0) return gradients;
        using var shifts = NativeBuffer.Rent((long)channels * sizeof(double));
        using var memory = NativeBuffer.Rent((long)channels * sizeof(PairSum));
        var centers = shifts.Span<double>(channels);
        for (var c = 0; c < channels; c++) centers[c] = AffineMap.CenterOf(mean[c]);
        ChannelSums.Of(new GradientTerms(x, dy), plan.View, (double*)shifts.Pointer, (PairSum*)memory.Pointer, compute);
        var sums = memory.Span<PairSum>(channels);
        for (var c = 0; c < channels; c++)
            (gradients.DBeta[c], gradients.DGamma[c], squares[c]) = (sums[c].U, sums[c].UV, sums[c].UU);
        return gradients;
    }

    private static void SetConstants(ChannelConstants constants, int channel, double center, double a, double b, double c)
    {
        constants[Center, channel] = center;
        constants[A, channel] = a;
        constants[B, channel] = b;
        constants[C, channel] = c;
        if (Math.Abs(center) >= AffineMap.LargeCenter) constants.RequireDouble(channel);
    }

    // Σ(g − dβ/m − x̂·dγ/m)², with Σx̂ = 0 and Σx̂² = M2·s².
    private static double Remainder(double squares, double dBeta, double dGamma, double normalizedSquares, long count) =>
        squares - (dBeta * dBeta / count) - (dGamma * dGamma / count * (2 - (normalizedSquares / count)));

    private static void RequireLengths(NormalizationPlan plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, ReadOnlySpan<float> dx)
    {
        Forward.RequireLength(plan, x.Length, nameof(x));
        Forward.RequireLength(plan, dy.Length, nameof(dy));
        Forward.RequireLength(plan, dx.Length, nameof(dx));
    }
}
