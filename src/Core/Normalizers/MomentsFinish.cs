using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Turns a channel's sums of d = x − K and d² into its moments and, for a training forward, into its affine map.</summary>
internal readonly struct MomentsFinish : IChannelFinish
{
    // Σd² exceeds M2 by m·(mean − K)²: beyond this ratio the difference loses too many digits and K is replaced by the mean.
    private const double LargestCancellation = 30;

    private readonly AffineMap? _map;
    private readonly double[]? _gamma;
    private readonly double[]? _beta;
    private readonly double _eps;
    private readonly double _perValue;

    public MomentsFinish(NormalizationPlan plan)
    {
        _perValue = 1.0 / plan.Count;
        Moments = new Moments(plan.Count, new double[plan.Statistics], new double[plan.Statistics], new double[plan.Statistics]);
    }

    public MomentsFinish(NormalizationPlan plan, AffineMap map, double[]? gamma, double[]? beta, double eps)
        : this(plan) => (_map, _gamma, _beta, _eps) = (map, gamma, beta, eps);

    /// <summary>The moments of the channels that are finished.</summary>
    public Moments Moments { get; }

    public bool Finish(int channel, in PairSum sum, ref double shift)
    {
        var (u, uv, count) = (sum.U, sum.UV, Moments.Count);
        // Products with 1/count instead of quotients: what they lose goes into the residual, and this runs once per channel.
        var difference = u * _perValue;
        var mean = shift + difference;
        // The mean is K + difference + what that left over: a value next to it has an output of that size.
        var left = (Math.FusedMultiplyAdd(-difference, count, u) + sum.UResidual) * _perValue;
        var isFinite = double.IsFinite(uv);
        var residual = isFinite ? Moments.SumResidual(shift, difference, mean) + left : 0;
        var m2 = isFinite ? Math.Max(uv - (u * difference), 0) : double.NaN;
        (Moments.Mean[channel], Moments.MeanResidual[channel], Moments.M2[channel]) = (mean, residual, m2);
        _map?.Set(channel, mean, residual, m2 * _perValue, _gamma?[channel] ?? 1, _beta?[channel] ?? 0, _eps);
        if (!(u * difference > LargestCancellation * m2)) return true;
        shift = (float)mean;
        return false;
    }
}
