using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Makes the affine maps of channels from statistics that are known already.</summary>
internal static unsafe class MapsOfStatistics
{
    /// <param name="moments">The statistics.</param>
    /// <param name="offset">The place of the first channel's statistic.</param>
    /// <param name="channelsPerStatistic">How many adjacent channels share a statistic.</param>
    /// <param name="target">Where the maps go.</param>
    /// <param name="channels">Number of channels.</param>
    public static void Set(Moments moments, int offset, int channelsPerStatistic, MapTarget target, int channels)
    {
        if (channelsPerStatistic == 1) Set(moments.Mean, moments.MeanResidual, moments.M2, 1.0 / Math.Max(moments.Count, 1), offset, target, channels);
        else PerGroup(moments, offset, channelsPerStatistic, target, channels);
    }

    /// <param name="mean">Mean of each channel.</param>
    /// <param name="residual">What rounding the means left over; null for nothing.</param>
    /// <param name="variance">Variance of each channel, or what it is with <paramref name="perValue"/>.</param>
    /// <param name="perValue">What <paramref name="variance"/> is multiplied by.</param>
    /// <param name="offset">The place of the first channel's statistic.</param>
    /// <param name="target">Where the maps go.</param>
    /// <param name="channels">Number of channels.</param>
    public static void Set(double[] mean, double[]? residual, double[] variance, double perValue, int offset, MapTarget target, int channels)
    {
        fixed (double* means = mean, residuals = residual, variances = variance)
        {
            VectorWidths.Run(VectorWidths.Widest,
                new PerChannel(means + offset, residuals is null ? null : residuals + offset, variances + offset, perValue, target, channels), 0);
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

    private readonly struct PerChannel(double* mean, double* residual, double* variance, double perValue, MapTarget target, int channels) : IKernel
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
