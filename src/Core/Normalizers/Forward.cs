using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>The forward pass: the moments of a batch, and the affine map over its elements.</summary>
public static unsafe class Forward
{
    /// <summary>Count, mean and M2 of every statistic, in double: relative error ≤ 1e-12 at any size and layout.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="compute">With what to compute.</param>
    /// <returns>Moments that are finite if and only if x is.</returns>
    public static Moments BatchMoments(NormalizationPlan plan, ReadOnlySpan<float> x, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        if (plan.Count == 0) return Moments.Empty(plan.Statistics);
        var moments = Moments.Unset(plan.Count, plan.Statistics);
        fixed (float* source = x)
        {
            var finish = new MomentsFinish(new FirstValues(source, plan.View), moments);
            ChannelSums.Run(new MomentTerms(source), finish, plan.View, compute);
        }
        return moments;
    }

    /// <summary>
    /// The training forward: the batch's moments, and y normalized with them. The bits are those of <see cref="BatchMoments"/>
    /// followed by <see cref="Apply"/>; memory is read once instead of twice where a channel fits into the cache.
    /// </summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="gamma">γ of each statistic; null for 1.</param>
    /// <param name="beta">β of each statistic; null for 0.</param>
    /// <param name="eps">ε.</param>
    /// <param name="activation">What follows the affine map.</param>
    /// <param name="y">Where the output goes; as long as x.</param>
    /// <param name="compute">With what to compute.</param>
    /// <returns>Moments that are finite if and only if x is.</returns>
    public static Moments Train(
        NormalizationPlan plan, ReadOnlySpan<float> x, double[]? gamma, double[]? beta, double eps, Activation activation, Span<float> y,
        ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        RequireLength(plan, y.Length, nameof(y));
        RequireChannels(plan, gamma?.Length, nameof(gamma));
        RequireChannels(plan, beta?.Length, nameof(beta));
        if (plan.Count == 0) return Moments.Empty(plan.Statistics);
        var moments = Moments.Unset(plan.Count, plan.Statistics);
        using var map = AffineMap.Unset(plan.Statistics);
        fixed (float* source = x, destination = y)
        {
            var finish = new MomentsFinish(new FirstValues(source, plan.View), moments, map, gamma, beta, eps);
            var terms = new MomentTerms(source);
            if (activation == Activation.Relu)
                FusedPass.Run(terms, finish, new Affine<RectifiedOutput>(source, null, destination), 1, plan.View, map.Constants, compute);
            else
                FusedPass.Run(terms, finish, new Affine<PlainOutput>(source, null, destination), 1, plan.View, map.Constants, compute);
        }
        return moments;
    }

    /// <summary>y = map(x), followed by the activation; <paramref name="y"/> may be <paramref name="x"/> itself.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The input.</param>
    /// <param name="map">The affine map per channel.</param>
    /// <param name="activation">What follows it.</param>
    /// <param name="y">Where the output goes; as long as x.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Apply(
        NormalizationPlan plan, ReadOnlySpan<float> x, AffineMap map, Activation activation, Span<float> y, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        RequireLength(plan, y.Length, nameof(y));
        RequireChannels(plan, map.Constants.Channels, nameof(map));
        fixed (float* source = x)
        fixed (float* destination = y)
        {
            if (activation == Activation.Relu)
                Run(plan, new Affine<RectifiedOutput>(source, null, destination), map.Constants, compute);
            else
                Run(plan, new Affine<PlainOutput>(source, null, destination), map.Constants, compute);
        }
    }

    internal static void Run<TOperator>(NormalizationPlan plan, TOperator op, ChannelConstants constants, ComputeSettings compute)
        where TOperator : struct, IElementwiseOperator => ElementwisePass.Run(op, plan.View, constants, compute);

    internal static void RequireChannels(NormalizationPlan plan, int? channels, string name)
    {
        // Without elements nothing per channel is read, and a sample without positions has no statistics to have it of.
        if (plan.View.Count > 0 && channels is { } given && given != plan.Statistics)
            throw new ArgumentException($"expected values of {plan.Statistics} statistics, got {given}", name);
    }

    internal static void RequireLength(NormalizationPlan plan, int length, string name)
    {
        if (length != plan.View.Count) throw new ArgumentException($"expected {plan.View.Count} elements, got {length}", name);
    }
}
