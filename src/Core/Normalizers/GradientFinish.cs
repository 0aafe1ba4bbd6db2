using System.Runtime.CompilerServices;
using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

// Both take Σg and Σg·(x − center), center = (float)μ, and correct the second for μ − center in double.

/// <summary>The gradients of the channels through their own statistics, and the constants of their dx.</summary>
internal readonly unsafe struct TrainingGradientFinish(
    Moments batch, double[]? gamma, double eps, ParameterGradients gradients, ChannelConstants constants) : IChannelFinish
{
    // Below this share of its terms' squared norm dx has cancelled so far that float terms would cost it more than 2e-6 of its norm.
    private const double CancellationShare = 1.0 / 64;

    private const int Center = AffineMap.Center, A = 1, B = 2, C = 3;

    private readonly double _perValue = 1.0 / batch.Count;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = batch.Mean) AffineMap.CenterOf(TVector.Load(means + channel)).Store(shifts + channel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = batch.Mean, residuals = batch.MeanResidual, m2s = batch.M2, gammas = gamma)
        fixed (double* dGammas = gradients.DGamma, dBetas = gradients.DBeta)
        {
            var (mean, m2, perValue) = (TVector.Load(means + channel), TVector.Load(m2s + channel), TVector.Broadcast(_perValue));
            var s = AffineMap.InverseDeviation(m2 * perValue, eps);
            var center = TVector.Load(shifts + channel);
            var residual = (mean - center) + TVector.Load(residuals + channel);
            var dBeta = PairSums.Total(TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel));
            var uv = PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel));
            var dGamma = s * (uv - (residual * dBeta));
            dBeta.Store(dBetas + channel);
            dGamma.Store(dGammas + channel);
            var a = Lanes.LoadOr<TVector>(gammas, channel, 1) * s;
            var minusA = TVector.Zero - a;
            var b = minusA * s * dGamma * perValue;
            constants.Set(Center, channel, center);
            constants.Set(A, channel, a);
            constants.Set(B, channel, b);
            constants.Set(C, channel, (minusA * dBeta * perValue) - (b * residual));
            // Σ(g − dβ/m − x̂·dγ/m)², with Σx̂ = 0 and Σx̂² = M2·s².
            var uu = TVector.Load(sums.UU + channel);
            var remainder = uu - (dBeta * dBeta * perValue) - (dGamma * dGamma * perValue * (TVector.Broadcast(2) - (m2 * s * s * perValue)));
            constants.RequireDouble(channel, TVector.LessThan(remainder, TVector.Broadcast(CancellationShare) * uu));
            constants.RequireDouble(channel, AffineMap.IsLarge(center));
        }
        return true;
    }
}

/// <summary>The gradients of the channels through running statistics, which are constants.</summary>
internal readonly unsafe struct InferenceGradientFinish(
    RunningStatistics running, double[]? gamma, double eps, ParameterGradients gradients, ChannelConstants constants) : IChannelFinish
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = running.Mean) AffineMap.CenterOf(TVector.Load(means + channel)).Store(shifts + channel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = running.Mean, variances = running.Variance, gammas = gamma)
        fixed (double* dGammas = gradients.DGamma, dBetas = gradients.DBeta)
        {
            var s = AffineMap.InverseDeviation(TVector.Load(variances + channel), eps);
            var residual = TVector.Load(means + channel) - TVector.Load(shifts + channel);
            var dBeta = PairSums.Total(TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel));
            var uv = PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel));
            dBeta.Store(dBetas + channel);
            (s * (uv - (residual * dBeta))).Store(dGammas + channel);
            constants.Set(0, channel, Lanes.LoadOr<TVector>(gammas, channel, 1) * s);
        }
        return true;
    }
}
