using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Makes the affine maps of channels from statistics that are known already.</summary>
internal static unsafe class MapsOfMoments
{
    /// <param name="moments">The statistics.</param>
    /// <param name="offset">The place of the first channel's statistic.</param>
    /// <param name="channelsPerStatistic">How many adjacent channels share a statistic.</param>
    /// <param name="target">Where the maps go.</param>
    /// <param name="channels">Number of channels.</param>
    public static void Set(Moments moments, int offset, int channelsPerStatistic, MapTarget target, int channels)
    {
        if (channelsPerStatistic == 1) VectorWidths.Run(VectorWidths.Widest, new PerChannel(moments, offset, target, channels), 0);
        else PerGroup(moments, offset, channelsPerStatistic, target, channels);
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

    private readonly struct PerChannel(Moments moments, int offset, MapTarget target, int channels) : IKernel
    {
        private readonly double _perValue = 1.0 / Math.Max(moments.Count, 1);

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
            fixed (double* means = moments.Mean, residuals = moments.MeanResidual, m2s = moments.M2)
            {
                MapTarget.Set(
                    target.Constants!, c, TVector.Load(means + offset + c), TVector.Load(residuals + offset + c),
                    TVector.Load(m2s + offset + c) * TVector.Broadcast(_perValue), gamma, beta, target.Eps, target.SplitsScale);
            }
        }
    }
}
