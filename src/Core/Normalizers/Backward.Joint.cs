using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

// Gradients through the statistics of a batch whose parts lie on several ranks (synchronized batch normalization): each part is summed by
// itself, the sums are added, and each part takes its dx from the totals. With one part it is the textbook's formula in the same terms.
public static unsafe partial class Backward
{
    /// <summary>What a part of the batch contributes to the gradient by x: Σg and Σg·(x − μ). For plans over channels.</summary>
    /// <param name="plan">How the part is laid out.</param>
    /// <param name="x">The part.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="joint">The moments of all parts together.</param>
    /// <param name="compute">With what to compute.</param>
    public static GradientSums Sums<T>(Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments joint, ComputeSettings compute)
        where T : unmanaged
    {
        RequireLengths(plan, x, dy, dy);
        RequireJoint(plan, joint);
        var own = GradientSums.Empty(plan.Statistics);
        if (plan.Elements == 0) return own;
        if (typeof(T) == typeof(double)) return Float64Backward.Sums(plan, Forward.Doubles(x), Forward.Doubles(dy), joint, compute);
        fixed (T* source = x, gradient = dy)
            ChannelSums.Run(new GradientTerms((float*)source, (float*)gradient), new ByVectors<GradientSumsFinish>(new(joint, own)), plan.View, compute);
        return own;
    }

    /// <summary>The gradients by gamma and beta of a part: dγ = s·Σg·(x − μ) = Σg·x̂, dβ = Σg.</summary>
    /// <param name="own">The sums of the part.</param>
    /// <param name="joint">The moments of all parts together.</param>
    /// <param name="eps">ε with which the batch was normalized.</param>
    public static ParameterGradients Parameters(GradientSums own, Moments joint, double eps)
    {
        ArgumentNullException.ThrowIfNull(own);
        ArgumentNullException.ThrowIfNull(joint);
        if (own.Statistics != joint.Channels)
            throw new ArgumentException($"expected sums of {joint.Channels} statistics, got {own.Statistics}", nameof(own));
        var variance = joint.Variance(unbiased: false);
        return new([.. own.SumDyXmu.Select((sum, c) => MapTarget.InverseDeviation<Simd.Lanes1<double>>(new(variance[c]), eps).Sum() * sum)], own.SumDy);
    }

    /// <summary>
    /// The gradient by a part of the batch: dx = γ·s·[g − Σg/m − x̂·Σg·x̂/m], the sums and m those of all parts together. For plans over
    /// channels.
    /// </summary>
    /// <remarks>
    /// It is computed in double: how far g cancels in one part, the sums of all parts do not tell.
    /// </remarks>
    /// <param name="plan">How the part is laid out.</param>
    /// <param name="x">The part.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="joint">The moments of all parts together.</param>
    /// <param name="total">The sums of all parts together.</param>
    /// <param name="gamma">γ with which the batch was normalized; null for 1.</param>
    /// <param name="eps">ε with which the batch was normalized.</param>
    /// <param name="dx">Receives the gradient by x; may be the memory of dy.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Joint<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments joint, GradientSums total, double[]? gamma, double eps,
        Span<T> dx, ComputeSettings compute)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(total);
        RequireLengths(plan, x, dy, dx);
        RequireJoint(plan, joint);
        Forward.RequireStatistics(plan, total.Statistics, nameof(total));
        Forward.RequireParameters(plan, gamma?.Length, nameof(gamma));
        if (plan.Elements == 0) return;
        if (typeof(T) == typeof(double))
        {
            Float64Backward.Joint(
                plan, Forward.Doubles(x), Forward.Doubles(dy), joint, total, gamma, eps, Forward.Doubles(dx), compute);
            return;
        }
        using var constants = new ChannelConstants(plan.Statistics, TrainingInputGradient.Constants);
        constants.RequireDouble();
        var finish = new ByVectors<JointGradientFinish>(new(joint, total, new(constants, gamma, null, eps, plan.Parameters)));
        Finishing<ByVectors<JointGradientFinish>>.Run(
            finish, plan.Statistics, new(default, Blocks: 1, Repeats: 1, ArePlain: false), shifts: null, isLast: true, compute);
        fixed (T* source = x, gradient = dy, destination = dx)
            ElementwisePass.Run(new TrainingInputGradient((float*)source, (float*)gradient, (float*)destination), plan.View, constants, compute);
    }

    private static void RequireJoint(Layout plan, Moments joint)
    {
        ArgumentNullException.ThrowIfNull(joint);
        Forward.RequireStatistics(plan, joint.Channels, nameof(joint));
        if (plan.Reduction != Reduction.Channels) throw new ArgumentException("expected a plan over channels", nameof(plan));
    }
}
