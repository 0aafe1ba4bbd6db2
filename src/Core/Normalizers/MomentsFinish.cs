using System.Runtime.CompilerServices;
using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Turns the channels' sums of d = x − K and d² into their moments and, for a forward pass, into their affine maps.</summary>
/// <param name="firstValues">Where K comes from.</param>
/// <param name="moments">Receives the moments.</param>
/// <param name="offset">The first channel's place in <paramref name="moments"/>.</param>
/// <param name="hasMean">Whether a mean is subtracted; if not it is 0, and M2 is Σx² (RMS).</param>
/// <param name="map">Receives the maps.</param>
internal readonly unsafe struct MomentsFinish(FirstValues firstValues, Moments moments, int offset, bool hasMean, MapTarget map)
    : IVectorFinish
{
    // Σd² exceeds M2 by m·(mean − K)²: beyond this ratio the difference loses too many digits and K is replaced by the mean.
    internal const double LargestCancellation = 30;

    private readonly double _perValue = 1.0 / moments.Count;

    public int Period => map.Period;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        if (hasMean) firstValues.Mean<TVector>(channel, shifts);
        else TVector.Zero.Store(shifts + channel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        var (high, low) = hasMean ? (TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel)) : (TVector.Zero, TVector.Zero);
        var u = PairSums.Total(high, low);
        var uv = PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel));
        var (shift, perValue) = (TVector.Load(shifts + channel), TVector.Broadcast(_perValue));
        // Products with 1/count instead of quotients: what they lose goes into the residual.
        var difference = u * perValue;
        var mean = shift + difference;
        // The mean is K + difference + what that left over: a value next to it has an output of that size.
        var left = (TVector.FusedMultiplyAdd(difference, TVector.Broadcast(-(double)moments.Count), u) + (low - (u - high))) * perValue;
        var isFinite = Lanes.IsFinite(uv);
        var residual = TVector.Choose(isFinite, Lanes.SumResidual(shift, difference, mean) + left, TVector.Zero);
        var excess = u * difference;
        var m2 = uv - excess;
        m2 = TVector.Choose(isFinite, TVector.Choose(TVector.LessThan(m2, TVector.Zero), TVector.Zero, m2), TVector.Broadcast(double.NaN));
        var cancels = TVector.LessThan(TVector.Broadcast(LargestCancellation) * m2, excess);
        if (!isLast && TVector.Any(cancels))
        {
            TVector.Choose(cancels, TVector.RoundToSingle(mean), shift).Store(shifts + channel);
            return false;
        }
        fixed (double* means = moments.Mean, residuals = moments.MeanResidual, m2s = moments.M2)
        {
            mean.Store(means + offset + channel);
            residual.Store(residuals + offset + channel);
            m2.Store(m2s + offset + channel);
        }
        if (map.Constants is null) return true;
        var (gamma, beta) = map.Parameters<TVector>(channel);
        MapTarget.Set(map.Constants, channel, mean, residual, m2 * perValue, gamma, beta, map.Eps, map.SplitsScale);
        return true;
    }
}

/// <summary>
/// Merges the sums of adjacent channels into the moments of their group (Wu &amp; He 2018), and makes the affine map of each channel from
/// them. Channels have as many values each; a channel's mean is taken relative to the first one's K, so that means far from 0 lose nothing.
/// </summary>
internal readonly unsafe struct GroupMomentsFinish(FirstValues firstValues, Moments moments, int offset, int channelsPerGroup,
    MapTarget map) : IChannelFinish
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
        // A group may have a million channels: their sums keep what rounding leaves over.
        var (within, isFinished) = (default(PairSum), true);
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
            within.Add((shifts[c] - shifts[first]) + difference, m2, 0);
        }
        if (!isFinished) return false;
        var (sum, sumLow, _, _, _) = within.Parts;
        var relative = Total(sum, sumLow) / channelsPerGroup;
        // As in MomentsFinish, what the quotient left over.
        var left = (Math.FusedMultiplyAdd(-relative, channelsPerGroup, sum) + sumLow) / channelsPerGroup;
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            var deviation = (shifts[c] - shifts[first]) + (Totals(sums, c).U * _perChannel) - relative;
            within.Add(0, deviation * deviation / _perChannel, 0);
        }
        var group = offset + (first / channelsPerGroup);
        var mean = shifts[first] + relative;
        var (_, _, m2Sum, m2Low, _) = within.Parts;
        var total = Total(m2Sum, m2Low);
        moments.Mean[group] = mean;
        moments.MeanResidual[group] =
            double.IsFinite(total) ? Lanes.SumResidual<Lanes1<double>>(new(shifts[first]), new(relative), new(mean)).Sum() + left : 0;
        moments.M2[group] = double.IsFinite(total) ? total : double.NaN;
        return true;
    }

    private void SetMaps(int first)
    {
        if (map.Constants is null) return;
        var group = offset + (first / channelsPerGroup);
        Lanes1<double> mean = new(moments.Mean[group]), residual = new(moments.MeanResidual[group]),
            variance = new(moments.M2[group] / moments.Count);
        for (var c = first; c < first + channelsPerGroup; c++)
        {
            var (gamma, beta) = map.Parameters<Lanes1<double>>(c);
            MapTarget.Set(map.Constants, c, mean, residual, variance, gamma, beta, map.Eps, splitsScale: false);
        }
    }

    private static (double U, double UV) Totals(PairSums sums, int channel) => (
        Total(sums.U[channel], sums.ULow[channel]), Total(sums.UV[channel], sums.UVLow[channel]));

    private static double Total(double sum, double low) => PairSums.Total<Lanes1<double>>(new(sum), new(low)).Sum();
}
