using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Tests;

/// <summary>What a layer does with normalized values.</summary>
internal sealed record LayerParameters(double[]? Gamma, double[]? Beta, double Eps, Activation Activation = Activation.None);

/// <summary>The parts of a step that <see cref="Batch"/> consists of, each by itself: for a layout, with statistics and parameters of the test's.</summary>
internal static class Forward
{
    public static Moments BatchMoments<T>(Layout plan, ReadOnlySpan<T> x, ComputeSettings compute)
        where T : unmanaged => On(plan, compute).Sum(Of(x));

    public static Moments BatchMoments(Layout plan, float[] x, ComputeSettings compute) => On(plan, compute).Sum(x);

    public static Moments Train<T>(
        Layout plan, ReadOnlySpan<T> x, LayerParameters layer, Span<T> y, ComputeSettings compute, ReadOnlySpan<T> residual = default)
        where T : unmanaged => On(plan, compute, layer).SumAndWrite(Of(x), Of(residual), Of<T>(y));

    public static void Apply<T>(
        Layout plan, ReadOnlySpan<T> x, Moments moments, LayerParameters layer, Span<T> y, ComputeSettings compute, ReadOnlySpan<T> residual = default)
        where T : unmanaged => On(plan, compute, layer).WriteBy(moments, Of(x), Of(residual), default, Of<T>(y));

    public static void Apply(
        Layout plan, ReadOnlySpan<float> x, AffineMap map, Activation activation, Span<float> y, ComputeSettings compute,
        ReadOnlySpan<float> residual = default) =>
        On(plan, compute, new(null, null, 0, activation)).WriteMapped(map, x, residual, default, y);

    internal static Batch On(Layout plan, ComputeSettings compute, LayerParameters? layer = null) => new(
        new LayerState
        {
            Options = new NormalizerOptions { NumFeatures = 1, Eps = layer?.Eps ?? 0, Activation = layer?.Activation ?? Activation.None },
            Version = 1,
            Features = plan.Statistics,
            Gamma = layer?.Gamma,
            Beta = layer?.Beta,
        },
        new Shape(plan.Elements), plan, compute);

    internal static Elements Of<T>(ReadOnlySpan<T> values)
        where T : unmanaged => typeof(T) == typeof(double)
        ? System.Runtime.InteropServices.MemoryMarshal.Cast<T, double>(values)
        : System.Runtime.InteropServices.MemoryMarshal.Cast<T, float>(values);
}

/// <summary>The same of the way back.</summary>
internal static class Backward
{
    public static ParameterGradients Training<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments batch, double[]? gamma, double eps, Span<T> dx, ComputeSettings compute,
        bool statisticsAreOfPart = false)
        where T : unmanaged =>
        On(plan, gamma, eps, compute).GradientsThrough(batch, Forward.Of(x), Forward.Of(dy), Forward.Of<T>(dx), statisticsAreOfPart);

    public static ParameterGradients Inference<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, RunningStatistics running, double[]? gamma, double eps, Span<T> dx, ComputeSettings compute)
        where T : unmanaged => On(plan, gamma, eps, compute).GradientsPast(Forward.Of(x), Forward.Of(dy), running, Forward.Of<T>(dx));

    public static void PastStatistics<T>(
        Layout plan, ReadOnlySpan<T> dy, Moments batch, double[]? gamma, double eps, Span<T> dx, ComputeSettings compute)
        where T : unmanaged => On(plan, gamma, eps, compute).WriteGradientPast(batch, Forward.Of(dy), Forward.Of<T>(dx));

    public static void ThroughRelu(
        Layout plan, ReadOnlySpan<float> x, ReadOnlySpan<float> dy, AffineMap map, Span<float> gated, ComputeSettings compute,
        ReadOnlySpan<float> residual = default) =>
        Forward.On(plan, compute, new(null, null, 0, Activation.Relu)).WriteMapped(map, x, residual, dy, gated);

    public static void ThroughRelu<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments moments, LayerParameters layer, Span<T> gated, ComputeSettings compute,
        ReadOnlySpan<T> residual = default)
        where T : unmanaged =>
        Forward.On(plan, compute, layer).WriteBy(moments, Forward.Of(x), Forward.Of(residual), Forward.Of(dy), Forward.Of<T>(gated));

    public static GradientSums Sums<T>(Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments joint, ComputeSettings compute)
        where T : unmanaged => Forward.On(plan, compute).SumGradients(joint, Forward.Of(x), Forward.Of(dy));

    public static ParameterGradients Parameters(GradientSums own, Moments joint, double eps) => Batch.ParametersOf(own, joint, eps);

    public static void Joint<T>(
        Layout plan, ReadOnlySpan<T> x, ReadOnlySpan<T> dy, Moments joint, GradientSums total, double[]? gamma, double eps, Span<T> dx,
        ComputeSettings compute)
        where T : unmanaged => On(plan, gamma, eps, compute).WriteJoinedGradient(joint, total, Forward.Of(x), Forward.Of(dy), Forward.Of<T>(dx));

    private static Batch On(Layout plan, double[]? gamma, double eps, ComputeSettings compute) => Forward.On(plan, compute, new(gamma, null, eps));
}
