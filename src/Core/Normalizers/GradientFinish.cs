using System.Runtime.CompilerServices;
using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

// All take Σg and Σg·(x − center), center = (float)μ, and correct the second for μ − center in double.

/// <summary>The gradients of the channels through their own statistics, and the constants of their dx.</summary>
/// <param name="batch">The statistics.</param>
/// <param name="offset">The first channel's place in <paramref name="batch"/> and <paramref name="gradients"/>.</param>
/// <param name="hasMean">Whether a mean was subtracted.</param>
/// <param name="gradients">Receives the gradients.</param>
/// <param name="map">γ, ε and where the constants go.</param>
/// <param name="isExact">Whether dx is computed in double: where g and the statistics are of different samples.</param>
internal readonly unsafe struct TrainingGradientFinish(
    Moments batch, int offset, bool hasMean, ParameterGradients gradients, MapTarget map, bool isExact = false) : IVectorFinish
{
    public const int A = 1, B = 2, C = 3;

    // Below this share of its terms' squared norm dx has cancelled so far that float terms would cost it more than 2e-6 of its norm.
    internal const double CancellationShare = 1.0 / 64;

    private readonly double _perValue = 1.0 / batch.Count;

    public int Period => map.Period;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = batch.Mean) MapTarget.CenterOf(TVector.Load(means + offset + channel)).Store(shifts + channel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        var perValue = TVector.Broadcast(_perValue);
        TVector mean, meanResidual, m2;
        fixed (double* means = batch.Mean, residuals = batch.MeanResidual, m2s = batch.M2)
        {
            (mean, m2) = (TVector.Load(means + offset + channel), TVector.Load(m2s + offset + channel));
            meanResidual = TVector.Load(residuals + offset + channel);
        }
        var s = MapTarget.InverseDeviation(m2 * perValue, map.Eps);
        var center = TVector.Load(shifts + channel);
        var residual = (mean - center) + meanResidual;
        var dBeta = PairSums.Total(TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel));
        var uv = PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel));
        var dGamma = s * (uv - (residual * dBeta));
        fixed (double* dGammas = gradients.DGamma, dBetas = gradients.DBeta)
        {
            dBeta.Store(dBetas + offset + channel);
            dGamma.Store(dGammas + offset + channel);
        }
        var a = map.Parameters<TVector>(channel).Gamma * s;
        var minusA = TVector.Zero - a;
        var b = minusA * s * dGamma * perValue;
        // Without a mean no gradient goes through one.
        if (!hasMean) dBeta = TVector.Zero;
        var constants = map.Constants!;
        constants.Set(MapTarget.Center, channel, center);
        constants.Set(A, channel, a);
        constants.Set(B, channel, b);
        constants.Set(C, channel, (minusA * dBeta * perValue) - (b * residual));
        // Σ(g − dβ/m − x̂·dγ/m)², with Σx̂ = 0 and Σx̂² = M2·s².
        var uu = TVector.Load(sums.UU + channel);
        var remainder = uu - (dBeta * dBeta * perValue) - (dGamma * dGamma * perValue * (TVector.Broadcast(2) - (m2 * s * s * perValue)));
        constants.RequireDouble(channel, TVector.LessThan(remainder, TVector.Broadcast(CancellationShare) * uu));
        constants.RequireDouble(channel, MapTarget.IsLarge(center));
        if (isExact) constants.RequireDouble(channel, TVector.MaskOfFirst(TVector.Count));
        return true;
    }
}

/// <summary>The gradients of the channels through running statistics, which are constants.</summary>
internal readonly unsafe struct InferenceGradientFinish(RunningStatistics running, ParameterGradients gradients, MapTarget map) : IVectorFinish
{
    public int Period => map.Period;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = running.Mean) MapTarget.CenterOf(TVector.Load(means + channel)).Store(shifts + channel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = running.Mean, variances = running.Variance, dGammas = gradients.DGamma, dBetas = gradients.DBeta)
        {
            var s = MapTarget.InverseDeviation(TVector.Load(variances + channel), map.Eps);
            var residual = TVector.Load(means + channel) - TVector.Load(shifts + channel);
            var dBeta = PairSums.Total(TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel));
            var uv = PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel));
            dBeta.Store(dBetas + channel);
            (s * (uv - (residual * dBeta))).Store(dGammas + channel);
            map.Constants!.Set(0, channel, map.Parameters<TVector>(channel).Gamma * s);
        }
        return true;
    }
}

/// <summary>Σg and Σg·x̂ as they are: the gradients of parameters per position.</summary>
internal readonly unsafe struct PositionGradientFinish(ParameterGradients gradients) : IVectorFinish
{
    public int Period => gradients.DBeta.Length;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double> => TVector.Zero.Store(shifts + channel);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* dGammas = gradients.DGamma, dBetas = gradients.DBeta)
        {
            PairSums.Total(TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel)).Store(dBetas + channel);
            PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel)).Store(dGammas + channel);
        }
        return true;
    }
}
