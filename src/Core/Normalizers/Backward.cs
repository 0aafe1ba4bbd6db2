using BnService.Core.Kernels;
using BnService.Core.Statistics;

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
        Forward.RequireChannels(plan, batch.Channels, nameof(batch));
        Forward.RequireChannels(plan, gamma?.Length, nameof(gamma));
        using var constants = new ChannelConstants(plan.Statistics, 4);
        var gradients = new ParameterGradients(new double[plan.Statistics], new double[plan.Statistics]);
        var finish = new TrainingGradientFinish(batch, gamma, eps, gradients, constants);
        fixed (float* source = x, gradient = dy, destination = dx)
        {
            FusedPass.Run(new GradientTerms(source, gradient), finish, new TrainingInputGradient(source, gradient, destination),
                inputs: 2, plan.View, constants, compute);
        }
        return gradients;
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
        Forward.RequireChannels(plan, running.Mean.Length, nameof(running));
        Forward.RequireChannels(plan, gamma?.Length, nameof(gamma));
        using var constants = new ChannelConstants(plan.Statistics, 1);
        var gradients = new ParameterGradients(new double[plan.Statistics], new double[plan.Statistics]);
        var finish = new InferenceGradientFinish(running, gamma, eps, gradients, constants);
        fixed (float* source = x, gradient = dy, destination = dx)
        {
            FusedPass.Run(new GradientTerms(source, gradient), finish, new InferenceInputGradient(gradient, destination),
                inputs: 2, plan.View, constants, compute);
        }
        return gradients;
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
        Forward.RequireChannels(plan, map.Constants.Channels, nameof(map));
        fixed (float* source = x, gradient = dy, destination = gated)
            Forward.Run(plan, new Affine<GatedGradient>(source, gradient, destination), map.Constants, compute);
    }

    private static void RequireLengths(NormalizationPlan plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, ReadOnlySpan<float> dx)
    {
        Forward.RequireLength(plan, x.Length, nameof(x));
        Forward.RequireLength(plan, dy.Length, nameof(dy));
        Forward.RequireLength(plan, dx.Length, nameof(dx));
    }
}
