using System.Runtime.CompilerServices;
using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>
/// The affine map per channel that normalization comes to once the statistics are known: y = (x − center)·scale + offset,
/// with center = (float)μ, scale = γ·s, s = 1/√(σ² + ε) and offset = β − (μ − center)·scale, prepared in double.
/// </summary>
public sealed class AffineMap : IDisposable
{
    private static readonly ConditionalWeakTable<RunningStatistics, AffineMap> Known = [];
    private readonly double[]? _gamma, _beta;
    private readonly double _eps;
    private readonly bool _isShared;

    private AffineMap(
        double[] mean, double[]? residual, double[] variance, double perValue, double[]? gamma, double[]? beta, double eps,
            bool isShared = false)
    {
        // A sample without positions has no statistics, whatever the layer has.
        if (mean.Length > 0 && ((gamma ?? mean).Length != mean.Length || (beta ?? mean).Length != mean.Length))
            throw new ArgumentException($"expected gamma and beta of {mean.Length} channels, got {gamma?.Length} and {beta?.Length}");
        (_gamma, _beta, _eps, _isShared) = (gamma, beta, eps, isShared);
        Constants = new ChannelConstants(mean.Length, MapTarget.KindsOf(splitsScale: false), isShared);
        if (mean.Length > 0)
            MapsOfStatistics.Set(mean, residual, variance, perValue, 0, new(Constants, gamma, beta, eps, mean.Length), mean.Length);
    }

    internal ChannelConstants Constants { get; }

    /// <summary>The map of a batch's own statistics (biased variance).</summary>
    /// <param name="batch">The batch's moments.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    public static AffineMap Of(Moments batch, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return new(batch.Mean, batch.MeanResidual, batch.M2, 1.0 / Math.Max(batch.Count, 1), gamma, beta, eps);
    }

    /// <summary>The map of running statistics.</summary>
    /// <param name="running">The running statistics.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    public static AffineMap Of(RunningStatistics running, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(running);
        return new(running.Mean, null, running.Variance, 1, gamma, beta, eps);
    }

    /// <summary>
    /// The same, made once for these arrays, which are never written, and shared: in memory of the collector's, not of a request's.
    /// </summary>
    internal static AffineMap Shared(RunningStatistics running, double[]? gamma, double[]? beta, double eps)
    {
        if (Known.TryGetValue(running, out var known) && known._gamma == gamma && known._beta == beta && known._eps == eps) return known;
        var map = new AffineMap(running.Mean, null, running.Variance, 1, gamma, beta, eps, isShared: true);
        // One map for each running statistics: that of the newest parameters.
        Known.AddOrUpdate(running, map);
        return map;
    }

    /// <summary>Gives the memory back, unless the map is shared.</summary>
    public void Dispose()
    {
        if (!_isShared) Constants.Dispose();
    }
}

/// <summary>
/// Where the affine maps of channels go, and what they are made of beside statistics:
/// y = (x − center)·scale + offset, with center = (float)μ, scale = γ·s, s = 1/√(σ² + ε), offset = β − (μ − center)·scale.
/// </summary>
/// <param name="Constants">Receives the maps; null where none are wanted.</param>
/// <param name="Gamma">γ; null for 1.</param>
/// <param name="Beta">β; null for 0.</param>
/// <param name="Eps">ε.</param>
/// <param name="Period">After how many channels gamma and beta begin again.</param>
/// <param name="SplitsScale">
/// Whether scale is split into two floats, the second one as a fourth constant: for kinds that multiply once more by a gamma per position.
/// </param>
internal readonly unsafe record struct MapTarget(
    ChannelConstants? Constants, double[]? Gamma, double[]? Beta, double Eps, int Period, bool SplitsScale = false)
{
    public const int Center = 0, Scale = 1, Offset = 2, ScaleLow = 3;

    // Beyond it |x − center| can pass float's range although x and center do not: half a unit in the last place of float.MaxValue.
    private const double LargestCenter = 1e31;

    /// <summary>Number of constants of a channel.</summary>
    public static int KindsOf(bool splitsScale) => splitsScale ? 4 : 3;

    /// <summary>Sets the maps of a vector of channels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Set<TVector>(
        ChannelConstants constants, int channel, TVector mean, TVector meanResidual, TVector variance, TVector gamma, TVector beta,
            double eps,
        bool splitsScale)
        where TVector : struct, IVector<TVector, double>
    {
        var center = CenterOf(mean);
        var scale = gamma * InverseDeviation(variance, eps);
        var offset = beta - (((mean - center) + meanResidual) * scale);
        constants.Set(Center, channel, center);
        if (splitsScale)
        {
            // A scale out of float's range stays whole, and is on the double path.
            var high = CenterOf(scale);
            constants.Set(ScaleLow, channel, scale - high);
            scale = high;
        }
        constants.Set(Scale, channel, scale);
        constants.Set(Offset, channel, offset);
        constants.RequireDouble(channel, IsLarge(center));
    }

    /// <summary>γ and β of a vector of channels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public (TVector Gamma, TVector Beta) Parameters<TVector>(int channel)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* gammas = Gamma, betas = Beta)
            return (Lanes.LoadOr<TVector>(gammas, channel % Period, 1), Lanes.LoadOr<TVector>(betas, channel % Period, 0));
    }

    /// <summary>s = 1/√(variance + ε); 0 where both are 0, so that a constant channel is normalized to exactly 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector InverseDeviation<TVector>(TVector variance, double eps)
        where TVector : struct, IVector<TVector, double>
    {
        var sum = variance + TVector.Broadcast(eps);
        return TVector.Choose(Lanes.IsZero(sum), TVector.Zero, TVector.Broadcast(1) / TVector.Sqrt(sum));
    }

    /// <summary>(float)μ; where that overflows μ itself, which puts the channel on the double path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector CenterOf<TVector>(TVector mean)
        where TVector : struct, IVector<TVector, double>
    {
        var rounded = TVector.RoundToSingle(mean);
        return TVector.Choose(Lanes.IsFinite(rounded), rounded, mean);
    }

    /// <summary>A mask of the centers from which on a channel needs the double path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector IsLarge<TVector>(TVector center)
        where TVector : struct, IVector<TVector, double> => TVector.LessThan(TVector.Broadcast(LargestCenter), TVector.Abs(center));
}

/// <summary>Makes the affine maps of channels from statistics that are known already.</summary>
internal static unsafe class MapsOfStatistics
{
    public static void Set(Moments moments, int offset, int channelsPerStatistic, MapTarget target, int channels)
    {
        if (channelsPerStatistic == 1)
            Set(moments.Mean, moments.MeanResidual, moments.M2, 1.0 / Math.Max(moments.Count, 1), offset, target, channels);
        else PerGroup(moments, offset, channelsPerStatistic, target, channels);
    }

    /// <param name="mean">Mean of each channel.</param>
    /// <param name="residual">What rounding the means left over; null for nothing.</param>
    /// <param name="variance">Variance of each channel, or what it is with <paramref name="perValue"/>.</param>
    /// <param name="perValue">What <paramref name="variance"/> is multiplied by.</param>
    /// <param name="offset">The place of the first channel's statistic.</param>
    /// <param name="target">Where the maps go.</param>
    /// <param name="channels">Number of channels.</param>
    public static void Set(
        double[] mean, double[]? residual, double[] variance, double perValue, int offset, MapTarget target, int channels)
    {
        fixed (double* means = mean, residuals = residual, variances = variance)
        {
            VectorWidths.Run(VectorWidths.Widest,
                new PerChannel(means + offset, residuals is null ? null : residuals + offset, variances + offset, perValue,
                    target, channels), 0);
        }
    }

    private static void PerGroup(Moments moments, int offset, int channelsPerStatistic, MapTarget target, int channels)
    {
        for (var c = 0; c < channels; c++)
        {
            var statistic = offset + (c / channelsPerStatistic);
            var (gamma, beta) = target.Parameters<Lanes1<double>>(c);
            MapTarget.Set<Lanes1<double>>(
                target.Constants!, c, new(moments.Mean[statistic]), new(moments.MeanResidual[statistic]),
                new(moments.M2[statistic] / Math.Max(moments.Count, 1)), gamma, beta, target.Eps, target.SplitsScale);
        }
    }

    private readonly struct PerChannel(double* mean, double* residual, double* variance, double perValue, MapTarget target, int channels)
        : IKernel
    {
        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double>
        {
            for (var c = 0; c < channels;)
            {
                if (channels - c >= TDouble.Count && target.Period - (c % target.Period) >= TDouble.Count)
                {
                    Set<TDouble>(c);
                    c += TDouble.Count;
                }
                else Set<Lanes1<double>>(c++);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Set<TVector>(int c)
            where TVector : struct, IVector<TVector, double>
        {
            var (gamma, beta) = target.Parameters<TVector>(c);
            MapTarget.Set(
                target.Constants!, c, TVector.Load(mean + c), Lanes.LoadOr<TVector>(residual, c, 0),
                TVector.Load(variance + c) * TVector.Broadcast(perValue), gamma, beta, target.Eps, target.SplitsScale);
        }
    }
}
