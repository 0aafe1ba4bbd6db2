using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>The gradients of gamma and beta, one value per parameter.</summary>
/// <param name="DGamma">dγ = Σg·x̂.</param>
/// <param name="DBeta">dβ = Σg.</param>
public sealed record ParameterGradients(double[] DGamma, double[] DBeta)
{
    internal static ParameterGradients OfLength(int length) => new(new double[length], new double[length]);

    /// <summary>The sum of two sets of gradients, of parts of a batch.</summary>
    /// <param name="other">Gradients of the same parameters.</param>
    public ParameterGradients Plus(ParameterGradients other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new([.. DGamma.Zip(other.DGamma, (a, b) => a + b)], [.. DBeta.Zip(other.DBeta, (a, b) => a + b)]);
    }
}

/// <summary>
/// The backward pass. <c>dx</c> may be the same memory as <c>dy</c>: an element is read before it is written.
/// </summary>
public static unsafe partial class Backward
{
    /// <summary>
    /// Gradients through a batch that was normalized with its own statistics: dx = s·[gγ − mean(gγ) − x̂·mean(gγ·x̂)], the means over what
    /// shares a statistic, without the first one for RMS (the papers of <see cref="NormalizerKind"/>).
    /// </summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="batch">The moments of x.</param>
    /// <param name="gamma">γ with which the batch was normalized; null for 1.</param>
    /// <param name="eps">ε with which the batch was normalized.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="statisticsAreOfPart">Whether the moments are those of a part of x, as with a mask; for plans over channels.</param>
    public static ParameterGradients Training<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments batch, double[]? gamma, double eps,
        Span<T> dx, ComputeSettings compute, bool statisticsAreOfPart = false)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(batch);
        RequireLengths(plan, x, dy, dx);
        Forward.RequireStatistics(plan, batch.Channels, nameof(batch));
        Forward.RequireParameters(plan, gamma?.Length, nameof(gamma));
        if (plan.Elements == 0) return ParameterGradients.OfLength(plan.Parameters);
        if (typeof(T) == typeof(double))
            return Float64Backward.Training(plan, Forward.Doubles(x), Forward.Doubles(dy), batch, gamma, eps, Forward.Doubles(dx), compute);
        fixed (T* source = x, gradient = dy, destination = dx)
        {
            var pass = new BackwardPass(plan, (float*)source, (float*)gradient, (float*)destination, batch, gamma, eps, compute);
            return plan.Reduction switch
            {
                Reduction.Channels => pass.ThroughChannels(statisticsAreOfPart),
                Reduction.Groups => pass.ThroughGroups(),
                _ => pass.ThroughRows(),
            };
        }
    }

    /// <summary>
    /// Gradients through an inference or a frozen layer, whose statistics do not depend on x:
    /// dx = γ·s·g, dγ = Σg·(x − μ)·s, dβ = Σg. For plans over channels.
    /// </summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The input.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="running">The running statistics.</param>
    /// <param name="gamma">γ; null for 1.</param>
    /// <param name="eps">ε.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="compute">With what to compute.</param>
    public static ParameterGradients Inference<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, RunningStatistics running, double[]? gamma, double eps,
        Span<T> dx, ComputeSettings compute)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(running);
        RequireLengths(plan, x, dy, dx);
        Forward.RequireStatistics(plan, running.Mean.Length, nameof(running));
        Forward.RequireParameters(plan, gamma?.Length, nameof(gamma));
        if (typeof(T) == typeof(double))
        {
            return Float64Backward.Inference(
                plan, Forward.Doubles(x), Forward.Doubles(dy), running.AsMoments(), gamma, eps, Forward.Doubles(dx), compute);
        }
        var gradients = ParameterGradients.OfLength(plan.Statistics);
        using var constants = new ChannelConstants(plan.Statistics, 1);
        var finish = new ByVectors<InferenceGradientFinish>(new(running, gradients, new(constants, gamma, null, eps, plan.Parameters)));
        fixed (T* source = x, gradient = dy, destination = dx)
        {
            FusedPass.Run(new GradientTerms((float*)source, (float*)gradient), finish, new InferenceInputGradient((float*)gradient, (float*)destination),
                inputs: 2, plan.View, constants, compute);
        }
        return gradients;
    }

    /// <summary>dx = scale·dy for each channel, the gradient by x where no statistic depends on it. For plans over channels.</summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="dy">The gradient by the output.</param>
    /// <param name="batch">The statistics that normalized x.</param>
    /// <param name="gamma">γ; null for 1.</param>
    /// <param name="eps">ε.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="compute">With what to compute.</param>
    public static void PastStatistics<T>(
        Layout plan, ReadOnlySpan<T> dy, Moments batch, double[]? gamma, double eps, Span<T> dx, ComputeSettings compute)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(batch);
        RequireLengths(plan, dy, dy, dx);
        Forward.RequireStatistics(plan, batch.Channels, nameof(batch));
        Forward.RequireParameters(plan, gamma?.Length, nameof(gamma));
        if (plan.Elements == 0) return;
        if (typeof(T) == typeof(double))
        {
            Float64Backward.PastStatistics(plan, Forward.Doubles(dy), batch, gamma, eps, Forward.Doubles(dx), compute);
            return;
        }
        using var constants = new ChannelConstants(plan.Statistics, MapTarget.KindsOf(splitsScale: false));
        MapsOfStatistics.Set(batch, 0, 1, new(constants, gamma, null, eps, plan.Parameters), plan.Statistics);
        fixed (T* gradient = dy, destination = dx)
            ElementwisePass.Run(new ScaledGradient((float*)gradient, (float*)destination), plan.View, constants, compute);
    }

    /// <summary>The gradient before the activation: dy where relu let the value pass, 0 where it did not (y ≤ 0).</summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The input of the normalizer.</param>
    /// <param name="dy">The gradient behind the activation.</param>
    /// <param name="map">The affine map of the forward pass.</param>
    /// <param name="gated">Receives the gradient; may be dy's memory.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    public static void ThroughRelu(
        Layout plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, AffineMap map, Span<float> gated,
        ComputeSettings compute, ReadOnlySpan<float> residual = default)
    {
        ArgumentNullException.ThrowIfNull(map);
        RequireLengths(plan, x, dy, gated);
        if (!residual.IsEmpty) Forward.RequireLength(plan, residual.Length, nameof(residual));
        Forward.RequireStatistics(plan, map.Constants.Channels, nameof(map));
        fixed (float* source = x, gradient = dy, added = residual, destination = gated)
        {
            var others = new OutputInputs(added, gradient);
            if (residual.IsEmpty) Forward.Run<GatedGradient>(plan, source, others, destination, map, compute);
            else Forward.Run<WithResidual<GatedGradient>>(plan, source, others, destination, map, compute);
        }
    }

    /// <summary>The gradient before the activation, of a batch that was normalized with statistics of its own.</summary>
    /// <param name="plan">How the tensors are laid out.</param>
    /// <param name="x">The input of the normalizer.</param>
    /// <param name="dy">The gradient behind the activation.</param>
    /// <param name="moments">The statistics of the forward pass.</param>
    /// <param name="layer">The parameters of the forward pass.</param>
    /// <param name="gated">Receives the gradient; may be dy's memory.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    public static void ThroughRelu<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments moments, LayerParameters layer, Span<T> gated,
        ComputeSettings compute, ReadOnlySpan<T> residual = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(moments);
        RequireLengths(plan, x, dy, gated);
        Forward.RequireFit(plan, x, layer, residual, gated, compute);
        Forward.RequireStatistics(plan, moments.Channels, nameof(moments));
        if (plan.Elements == 0) return;
        if (typeof(T) == typeof(double))
        {
            Float64Backward.ThroughRelu(
                plan, Forward.Doubles(x), Forward.Doubles(dy), moments, layer, Forward.Doubles(gated), compute, Forward.Doubles(residual));
            return;
        }
        fixed (T* source = x, gradient = dy, added = residual, destination = gated)
        {
            var pass = new ForwardPass(plan, (float*)source, new((float*)added, (float*)gradient), (float*)destination, layer.Gamma, layer.Beta, layer.Eps, compute);
            if (residual.IsEmpty) pass.Apply<GatedGradient>(moments);
            else pass.Apply<WithResidual<GatedGradient>>(moments);
        }
    }

    private static void RequireLengths<T>(Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, ReadOnlySpan<T> dx)
    {
        ArgumentNullException.ThrowIfNull(plan);
        Forward.RequireLength(plan, x.Length, nameof(x));
        Forward.RequireLength(plan, dy.Length, nameof(dy));
        Forward.RequireLength(plan, dx.Length, nameof(dx));
    }
}
