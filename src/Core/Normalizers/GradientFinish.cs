using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

// Both take Σg and Σg·(x − center), center = (float)μ, and correct the second for μ − center in double.

/// <summary>The gradients of a channel through its own statistics, and the constants of its dx.</summary>
internal readonly struct TrainingGradientFinish(Moments batch, double[]? gamma, double eps, ChannelConstants constants) : IChannelFinish
{
    private readonly double _perValue = 1.0 / batch.Count;

    // Below this share of its terms' squared norm dx has cancelled so far that float terms would cost it more than 2e-6 of its norm.
    private const double CancellationShare = 1.0 / 64;

    private const int Center = AffineMap.Center, A = 1, B = 2, C = 3;

    public ParameterGradients Gradients { get; } = new(new double[batch.Channels], new double[batch.Channels]);

    public bool Finish(int channel, in PairSum sum, ref double shift)
    {
        var (mean, m2) = (batch.Mean[channel], batch.M2[channel]);
        var s = AffineMap.InverseDeviation(m2 * _perValue, eps);
        var center = AffineMap.CenterOf(mean);
        var residual = mean - center + batch.MeanResidual[channel];
        var dBeta = Gradients.DBeta[channel] = sum.U;
        var dGamma = Gradients.DGamma[channel] = s * (sum.UV - (residual * dBeta));
        var a = (gamma?[channel] ?? 1) * s;
        var b = -a * s * dGamma * _perValue;
        constants[Center, channel] = center;
        constants[A, channel] = a;
        constants[B, channel] = b;
        constants[C, channel] = (-a * dBeta * _perValue) - (b * residual);
        // Σ(g − dβ/m − x̂·dγ/m)², with Σx̂ = 0 and Σx̂² = M2·s².
        var remainder = sum.UU - (dBeta * dBeta * _perValue) - (dGamma * dGamma * _perValue * (2 - (m2 * s * s * _perValue)));
        if (remainder < CancellationShare * sum.UU || Math.Abs(center) >= AffineMap.LargeCenter) constants.RequireDouble(channel);
        return true;
    }
}

/// <summary>The gradients of a channel through running statistics, which are constants.</summary>
internal readonly struct InferenceGradientFinish(RunningStatistics running, double[]? gamma, double eps, ChannelConstants constants)
    : IChannelFinish
{
    public ParameterGradients Gradients { get; } = new(new double[running.Mean.Length], new double[running.Mean.Length]);

    public bool Finish(int channel, in PairSum sum, ref double shift)
    {
        var s = AffineMap.InverseDeviation(running.Variance[channel], eps);
        var residual = running.Mean[channel] - AffineMap.CenterOf(running.Mean[channel]);
        Gradients.DBeta[channel] = sum.U;
        Gradients.DGamma[channel] = s * (sum.UV - (residual * sum.U));
        constants[0, channel] = (gamma?[channel] ?? 1) * s;
        return true;
    }
}
