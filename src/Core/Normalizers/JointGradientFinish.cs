using System.Runtime.CompilerServices;
using BnService.Core.Kernels;
using BnService.Core.Simd;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

// What TrainingGradientFinish does in one step, where the sums of other parts of the batch come in between.

/// <summary>Σg and Σg·(x − μ) of a part, from its sums with x − center, center = (float)μ.</summary>
/// <param name="joint">The statistics of all parts together.</param>
/// <param name="own">Receives the sums.</param>
internal readonly unsafe struct GradientSumsFinish(Moments joint, GradientSums own) : IVectorFinish
{
    public int Period => int.MaxValue;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = joint.Mean) MapTarget.CenterOf(TVector.Load(means + channel)).Store(shifts + channel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* means = joint.Mean, residuals = joint.MeanResidual, sumDys = own.SumDy, sumDyXmus = own.SumDyXmu)
        {
            var residual = (TVector.Load(means + channel) - TVector.Load(shifts + channel)) + TVector.Load(residuals + channel);
            var sumDy = PairSums.Total(TVector.Load(sums.U + channel), TVector.Load(sums.ULow + channel));
            var uv = PairSums.Total(TVector.Load(sums.UV + channel), TVector.Load(sums.UVLow + channel));
            sumDy.Store(sumDys + channel);
            (uv - (residual * sumDy)).Store(sumDyXmus + channel);
        }
        return true;
    }
}

/// <summary>The constants of dx, from the sums over all parts. There is nothing to sum.</summary>
/// <param name="joint">The statistics of all parts together.</param>
/// <param name="total">The sums over all parts.</param>
/// <param name="map">γ, ε and where the constants go.</param>
internal readonly unsafe struct JointGradientFinish(Moments joint, GradientSums total, MapTarget map) : IVectorFinish
{
    private readonly double _perValue = 1.0 / joint.Count;

    public int Period => map.Period;

    public void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        var perValue = TVector.Broadcast(_perValue);
        TVector mean, meanResidual, m2, sumDy, sumDyXmu;
        fixed (double* means = joint.Mean, residuals = joint.MeanResidual, m2s = joint.M2, sumDys = total.SumDy, sumDyXmus = total.SumDyXmu)
        {
            (mean, meanResidual, m2) = (TVector.Load(means + channel), TVector.Load(residuals + channel), TVector.Load(m2s + channel));
            (sumDy, sumDyXmu) = (TVector.Load(sumDys + channel), TVector.Load(sumDyXmus + channel));
        }
        var s = MapTarget.InverseDeviation(m2 * perValue, map.Eps);
        var center = MapTarget.CenterOf(mean);
        var a = map.Parameters<TVector>(channel).Gamma * s;
        var minusA = TVector.Zero - a;
        var b = minusA * s * (s * sumDyXmu) * perValue;
        var constants = map.Constants!;
        constants.Set(MapTarget.Center, channel, center);
        constants.Set(TrainingGradientFinish.A, channel, a);
        constants.Set(TrainingGradientFinish.B, channel, b);
        constants.Set(TrainingGradientFinish.C, channel, (minusA * sumDy * perValue) - (b * ((mean - center) + meanResidual)));
        return true;
    }
}
