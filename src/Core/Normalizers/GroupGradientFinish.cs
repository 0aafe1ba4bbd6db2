using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>
/// Gradients through the statistics of groups of adjacent channels: dx = s·[gγ − mean(gγ) − x̂·mean(gγx̂)], the means over the group, and
/// Σg and Σg·x̂ per channel (Wu &amp; He 2018).
/// </summary>
/// <param name="batch">The statistics of the groups.</param>
/// <param name="offset">The first group's place in <paramref name="batch"/>.</param>
/// <param name="channelsPerGroup">Number of adjacent channels of a group.</param>
/// <param name="gradients">Receives Σg·x̂ and Σg of each channel, from the place <paramref name="channelOffset"/> on.</param>
/// <param name="channelOffset">The first channel's place in <paramref name="gradients"/>.</param>
/// <param name="map">γ, ε and where the constants go.</param>
internal readonly unsafe struct GroupGradientFinish(
    Moments batch, int offset, int channelsPerGroup, ParameterGradients gradients, int channelOffset, MapTarget map) : IChannelFinish
{
    private readonly double _perValue = 1.0 / batch.Count;

    public int Multiple => channelsPerGroup;

    public void Begin<TVector>(int from, int to, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        for (var c = from; c < to; c++)
            MapTarget.CenterOf<Lanes1<double>>(new(batch.Mean[offset + (c / channelsPerGroup)])).Store(shifts + c);
    }

    public bool Finish<TVector>(int from, int to, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        for (var first = from; first < to; first += channelsPerGroup) Finish(first, sums, shifts[first]);
        return true;
    }

    private void Finish(int first, PairSums sums, double center)
    {
        var group = offset + (first / channelsPerGroup);
        var (mean, m2) = (batch.Mean[group], batch.M2[group]);
        var s = MapTarget.InverseDeviation<Lanes1<double>>(new(m2 * _perValue), map.Eps).Sum();
        var residual = mean - center + batch.MeanResidual[group];
        double sum = 0, sumNormalized = 0, squares = 0;
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            var gamma = map.Parameters<Lanes1<double>>(c).Gamma.Sum();
            var dBeta = PairSums.Total<Lanes1<double>>(new(sums.U[c]), new(sums.ULow[c])).Sum();
            var dGamma = s * (PairSums.Total<Lanes1<double>>(new(sums.UV[c]), new(sums.UVLow[c])).Sum() - (residual * dBeta));
            gradients.DBeta[channelOffset + c] = dBeta;
            gradients.DGamma[channelOffset + c] = dGamma;
            sum += gamma * dBeta;
            sumNormalized += gamma * dGamma;
            squares += gamma * gamma * sums.UU[c];
        }
        var b = -s * s * sumNormalized * _perValue;
        var shift = (-s * sum * _perValue) - (b * residual);
        // As in TrainingGradientFinish, of the group's weighted gradient.
        var remainder = squares - (sum * sum * _perValue) - (sumNormalized * sumNormalized * _perValue * (2 - (m2 * s * s * _perValue)));
        var cancels = remainder < TrainingGradientFinish.CancellationShare * squares || MapTarget.IsLarge<Lanes1<double>>(new(center)).Sum() != 0;
        var constants = map.Constants!;
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            constants.Set<Lanes1<double>>(MapTarget.Center, c, new(center));
            constants.Set<Lanes1<double>>(TrainingGradientFinish.A, c, new(map.Parameters<Lanes1<double>>(c).Gamma.Sum() * s));
            constants.Set<Lanes1<double>>(TrainingGradientFinish.B, c, new(b));
            constants.Set<Lanes1<double>>(TrainingGradientFinish.C, c, new(shift));
            if (cancels) constants.RequireDouble(c, Lanes1<double>.MaskOfFirst(1));
        }
    }
}
