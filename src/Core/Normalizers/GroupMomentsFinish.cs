using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>
/// Merges the sums of adjacent channels into the moments of their group (Wu &amp; He 2018), and makes the affine map of each channel from
/// them. Channels have as many values each; a channel's mean is taken relative to the first one's K, so that means far from 0 lose nothing.
/// </summary>
/// <param name="firstValues">Where the channels' K come from.</param>
/// <param name="moments">Receives the moments of the groups.</param>
/// <param name="offset">The first group's place in <paramref name="moments"/>.</param>
/// <param name="channelsPerGroup">Number of adjacent channels of a group.</param>
/// <param name="map">Receives the maps of the channels.</param>
internal readonly unsafe struct GroupMomentsFinish(FirstValues firstValues, Moments moments, int offset, int channelsPerGroup, MapTarget map) : IChannelFinish
{
    private readonly double _perChannel = (double)channelsPerGroup / moments.Count;

    public int Multiple => channelsPerGroup;

    public void Begin<TVector>(int from, int to, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        var channel = from;
        for (; to - channel >= TVector.Count; channel += TVector.Count) firstValues.Mean<TVector>(channel, shifts);
        for (; channel < to; channel++) firstValues.Mean<Lanes1<double>>(channel, shifts);
    }

    public bool Finish<TVector>(int from, int to, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        var isFinished = true;
        for (var first = from; first < to; first += channelsPerGroup)
        {
            if (Merge(first, sums, shifts, isLast)) SetMaps(first);
            else isFinished = false;
        }
        return isFinished;
    }

    private bool Merge(int first, PairSums sums, double* shifts, bool isLast)
    {
        var (within, relative, isFinished) = (0.0, 0.0, true);
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            var (u, uv) = Totals(sums, c);
            var difference = u * _perChannel;
            var m2 = Math.Max(uv - (u * difference), 0);
            if (!isLast && u * difference > MomentsFinish.LargestCancellation * m2)
            {
                shifts[c] = (float)(shifts[c] + difference);
                isFinished = false;
            }
            within += m2;
            relative += (shifts[c] - shifts[first]) + difference;
        }
        if (!isFinished) return false;
        relative /= channelsPerGroup;
        var between = 0.0;
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            var deviation = (shifts[c] - shifts[first]) + (Totals(sums, c).U * _perChannel) - relative;
            between += deviation * deviation;
        }
        var group = offset + (first / channelsPerGroup);
        var mean = shifts[first] + relative;
        var total = within + (between / _perChannel);
        moments.Mean[group] = mean;
        moments.MeanResidual[group] =
            double.IsFinite(total) ? Lanes.SumResidual<Lanes1<double>>(new(shifts[first]), new(relative), new(mean)).Sum() : 0;
        moments.M2[group] = double.IsFinite(total) ? total : double.NaN;
        return true;
    }

    private void SetMaps(int first)
    {
        if (map.Constants is null) return;
        var group = offset + (first / channelsPerGroup);
        Lanes1<double> mean = new(moments.Mean[group]), residual = new(moments.MeanResidual[group]), variance = new(moments.M2[group] / moments.Count);
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            var (gamma, beta) = map.Parameters<Lanes1<double>>(c);
            MapTarget.Set(map.Constants, c, mean, residual, variance, gamma, beta, map.Eps, splitsScale: false);
        }
    }

    private static (double U, double UV) Totals(PairSums sums, int channel) => (
        PairSums.Total<Lanes1<double>>(new(sums.U[channel]), new(sums.ULow[channel])).Sum(),
        PairSums.Total<Lanes1<double>>(new(sums.UV[channel]), new(sums.UVLow[channel])).Sum());
}
