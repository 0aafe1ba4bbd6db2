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
internal readonly unsafe struct MomentsFinish(FirstValues firstValues, Moments moments, int offset, bool hasMean, MapTarget map) : IVectorFinish
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
