using System.Runtime.InteropServices;
using BnService.Core.Kernels;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>What a layer does with normalized values: y = activation(γ·x̂ + β).</summary>
/// <param name="Gamma">γ, one value per parameter of the plan; null for 1.</param>
/// <param name="Beta">β, one value per parameter of the plan; null for 0.</param>
/// <param name="Eps">ε, added to the variance.</param>
/// <param name="Activation">What follows the affine map, after a residual has been added.</param>
public sealed record LayerParameters(double[]? Gamma, double[]? Beta, double Eps, Activation Activation = Activation.None);

/// <summary>The forward pass: the statistics of a batch, and what becomes of its elements.</summary>
/// <remarks>
/// A residual is added to y before the activation; an empty span stands for none. Outputs may be the memory of x. Every method throws an
/// <see cref="ArgumentException"/> where a length does not fit the plan. Elements are float, or double and then computed in double.
/// </remarks>
public static unsafe class Forward
{
    /// <summary>Count, mean and M2 of every statistic, in double: relative error ≤ 1e-12 at any size and layout.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="compute">With what to compute.</param>
    /// <returns>Moments that are finite if and only if x is. For RMS the mean is 0 and M2 is Σx².</returns>
    public static Moments BatchMoments<T>(Layout plan, ReadOnlySpan<T> x, ComputeSettings compute)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        if (plan.Elements == 0) return NoMoments(plan);
        if (typeof(T) == typeof(double)) return Float64Forward.BatchMoments(plan, Doubles(x), compute);
        var moments = Moments.Unset(plan.Count, plan.Statistics);
        fixed (T* source = x) Slices.Run(plan, new MomentsOfSlice(plan, (float*)source, moments), compute);
        return moments;
    }

    /// <inheritdoc cref="BatchMoments{T}"/>
    public static Moments BatchMoments(Layout plan, Tensor x, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(x);
        return x.Precision == Precision.Float64 ? BatchMoments<double>(plan, x.Doubles, compute) : BatchMoments<float>(plan, x.Data, compute);
    }

    /// <summary>
    /// The statistics of a batch, and y normalized with them. The bits are those of <see cref="BatchMoments"/> followed by
    /// <see cref="Apply{T}(Layout, ReadOnlySpan{T}, Moments, LayerParameters, Span{T}, ComputeSettings, ReadOnlySpan{T})"/>;
    /// memory is read once instead of twice where what shares a statistic fits into the cache.
    /// </summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="layer">The layer's parameters.</param>
    /// <param name="y">Where the output goes; as long as x.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="residual">What is added to y before the activation; empty for nothing.</param>
    /// <returns>Moments that are finite if and only if x is.</returns>
    public static Moments Train<T>(
        Layout plan, ReadOnlySpan<T> x, LayerParameters layer, Span<T> y, ComputeSettings compute, ReadOnlySpan<T> residual = default)
        where T : unmanaged
    {
        RequireFit(plan, x, layer, residual, y, compute);
        if (plan.Elements == 0) return NoMoments(plan);
        if (typeof(T) == typeof(double))
        {
            var moments = BatchMoments(plan, x, compute);
            Apply(plan, x, moments, layer, y, compute, residual);
            return moments;
        }
        fixed (T* source = x, added = residual, destination = y)
        {
            var pass = new ForwardPass(plan, (float*)source, new((float*)added, null), (float*)destination, layer.Gamma, layer.Beta, layer.Eps, compute);
            return (layer.Activation, residual.IsEmpty) switch
            {
                (Activation.None, true) => pass.Run<PlainOutput>(),
                (Activation.None, false) => pass.Run<WithResidual<PlainOutput>>(),
                (_, true) => pass.Run<RectifiedOutput>(),
                _ => pass.Run<WithResidual<RectifiedOutput>>(),
            };
        }
    }

    /// <summary>y of a batch whose statistics are known.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The input.</param>
    /// <param name="moments">The statistics, as <see cref="BatchMoments"/> gives them for the same plan.</param>
    /// <param name="layer">The layer's parameters.</param>
    /// <param name="y">Where the output goes; as long as x.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="residual">What is added to y before the activation; empty for nothing.</param>
    public static void Apply<T>(
        Layout plan, ReadOnlySpan<T> x, Moments moments, LayerParameters layer, Span<T> y, ComputeSettings compute,
        ReadOnlySpan<T> residual = default)
        where T : unmanaged
    {
        RequireFit(plan, x, layer, residual, y, compute);
        ArgumentNullException.ThrowIfNull(moments);
        RequireStatistics(plan, moments.Channels, nameof(moments));
        if (plan.Elements == 0) return;
        if (typeof(T) == typeof(double))
        {
            Float64Forward.Apply(plan, Doubles(x), moments, layer, Doubles(y), compute, Doubles(residual));
            return;
        }
        fixed (T* source = x, added = residual, destination = y)
        {
            var pass = new ForwardPass(plan, (float*)source, new((float*)added, null), (float*)destination, layer.Gamma, layer.Beta, layer.Eps, compute);
            switch (layer.Activation, residual.IsEmpty)
            {
                case (Activation.None, true): pass.Apply<PlainOutput>(moments); break;
                case (Activation.None, false): pass.Apply<WithResidual<PlainOutput>>(moments); break;
                case (_, true): pass.Apply<RectifiedOutput>(moments); break;
                default: pass.Apply<WithResidual<RectifiedOutput>>(moments); break;
            }
        }
    }

    /// <summary>y = activation(map(x) + residual), for plans over channels: with running statistics above all.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The input.</param>
    /// <param name="map">The affine map per channel.</param>
    /// <param name="activation">What follows it.</param>
    /// <param name="y">Where the output goes; as long as x.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="residual">What is added before the activation; empty for nothing.</param>
    public static void Apply(
        Layout plan, ReadOnlySpan<float> x, AffineMap map, Activation activation, Span<float> y, ComputeSettings compute,
        ReadOnlySpan<float> residual = default)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        RequireLength(plan, y.Length, nameof(y));
        if (!residual.IsEmpty) RequireLength(plan, residual.Length, nameof(residual));
        RequireStatistics(plan, map.Constants.Channels, nameof(map));
        fixed (float* source = x, added = residual, destination = y)
        {
            var others = new OutputInputs(added, null);
            switch (activation, residual.IsEmpty)
            {
                case (Activation.None, true): Run<PlainOutput>(plan, source, others, destination, map, compute); break;
                case (Activation.None, false): Run<WithResidual<PlainOutput>>(plan, source, others, destination, map, compute); break;
                case (_, true): Run<RectifiedOutput>(plan, source, others, destination, map, compute); break;
                default: Run<WithResidual<RectifiedOutput>>(plan, source, others, destination, map, compute); break;
            }
        }
    }

    internal static void Run<TRule>(Layout plan, float* x, OutputInputs others, float* output, AffineMap map, ComputeSettings compute)
        where TRule : struct, IOutputRule => ElementwisePass.Run(new Affine<TRule>(x, others, output), plan.View, map.Constants, compute);

    internal static ReadOnlySpan<double> Doubles<T>(ReadOnlySpan<T> values)
        where T : unmanaged => MemoryMarshal.Cast<T, double>(values);

    internal static Span<double> Doubles<T>(Span<T> values)
        where T : unmanaged => MemoryMarshal.Cast<T, double>(values);

    internal static void RequireFit<T>(
        Layout plan, ReadOnlySpan<T> x, LayerParameters layer, ReadOnlySpan<T> residual, ReadOnlySpan<T> y, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(layer);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        RequireLength(plan, y.Length, nameof(y));
        if (!residual.IsEmpty) RequireLength(plan, residual.Length, nameof(residual));
        RequireParameters(plan, layer.Gamma?.Length, "gamma");
        RequireParameters(plan, layer.Beta?.Length, "beta");
    }

    internal static void RequireParameters(Layout plan, int? length, string name)
    {
        // Without elements nothing per channel is read.
        if (plan.Elements > 0 && length is { } given && given != plan.Parameters)
            throw new ArgumentException($"expected {plan.Parameters} values, got {given}", name);
    }

    internal static void RequireStatistics(Layout plan, int statistics, string name)
    {
        if (plan.Elements > 0 && statistics != plan.Statistics)
            throw new ArgumentException($"expected values of {plan.Statistics} statistics, got {statistics}", name);
    }

    internal static void RequireLength(Layout plan, int length, string name)
    {
        if (length != plan.Elements) throw new ArgumentException($"expected {plan.Elements} elements, got {length}", name);
    }

    // No elements, though perhaps statistics: those of no values.
    private static Moments NoMoments(Layout plan) => Moments.Empty(plan.Statistics);

    private readonly struct MomentsOfSlice(Layout plan, float* x, Moments moments) : ISliceWork
    {
        public void Run(int start, ChannelView view, int statistic, ComputeSettings compute)
        {
            var (terms, firstValues) = (new MomentTerms(x + start), new FirstValues(x + start, view));
            var noMap = new MapTarget(null, null, null, 0, int.MaxValue);
            if (plan.ChannelsPerStatistic == 1)
                ChannelSums.Run(terms, new ByVectors<MomentsFinish>(new(firstValues, moments, statistic, plan.HasMean, noMap)), view, compute);
            else
                ChannelSums.Run(terms, new GroupMomentsFinish(firstValues, moments, statistic, plan.ChannelsPerStatistic, noMap), view, compute);
        }
    }
}
