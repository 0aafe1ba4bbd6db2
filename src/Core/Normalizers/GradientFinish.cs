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
internal readonly unsafe struct InferenceGradientFinish(RunningStatistics running, ParameterGradients gradients, MapTarget map)
    : IVectorFinish
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
        var cancels = remainder < TrainingGradientFinish.CancellationShare * squares
            || MapTarget.IsLarge<Lanes1<double>>(new(center)).Sum() != 0;
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

// What TrainingGradientFinish does in one step, where the sums of other parts of the batch come in between.

/// <summary>Σg and Σg·(x − μ) of a part, from its sums with x − center, center = (float)μ.</summary>
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
