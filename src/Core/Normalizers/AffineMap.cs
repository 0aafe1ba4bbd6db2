using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>
/// The affine map per channel that normalization comes to once the statistics are known: y = (x − center)·scale + offset,
/// with center = (float)μ, scale = γ·s, s = 1/√(σ² + ε) and offset = β − (μ − center)·scale, prepared in double.
/// </summary>
public sealed class AffineMap : IDisposable
{
    internal const int Center = 0, Scale = 1, Offset = 2;

    // From here on |x − center| can pass float's range although x and center do not: half a unit in the last place of float.MaxValue.
    internal const double LargeCenter = 1e31;

    private AffineMap(int channels) => Constants = new ChannelConstants(channels, 3);

    internal ChannelConstants Constants { get; }

    /// <summary>The map of a batch's own statistics (biased variance).</summary>
    /// <param name="batch">The batch's moments.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    public static AffineMap Of(Moments batch, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(batch);
        var map = new AffineMap(batch.Channels);
        var count = Math.Max(batch.Count, 1);
        for (var c = 0; c < batch.Channels; c++)
            map.Set(c, batch.Mean[c], batch.MeanResidual[c], batch.M2[c] / count, gamma?[c] ?? 1, beta?[c] ?? 0, eps);
        return map;
    }

    /// <summary>The map of running statistics.</summary>
    /// <param name="running">The running statistics.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    public static AffineMap Of(RunningStatistics running, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(running);
        var map = new AffineMap(running.Mean.Length);
        for (var c = 0; c < running.Mean.Length; c++)
            map.Set(c, running.Mean[c], 0, running.Variance[c], gamma?[c] ?? 1, beta?[c] ?? 0, eps);
        return map;
    }

    /// <inheritdoc/>
    public void Dispose() => Constants.Dispose();

    /// <summary>s = 1/√(variance + ε); 0 where both are 0, so that a constant channel is normalized to exactly 0.</summary>
    internal static double InverseDeviation(double variance, double eps)
    {
        var sum = variance + eps;
        return sum == 0 ? 0 : 1 / Math.Sqrt(sum);
    }

    /// <summary>(float)μ; where that overflows μ itself, which puts the channel on the double path.</summary>
    internal static double CenterOf(double mean) => float.IsFinite((float)mean) ? (float)mean : mean;

    /// <summary>A map whose channels are set one by one.</summary>
    internal static AffineMap Unset(int channels) => new(channels);

    /// <summary>Sets the map of one channel.</summary>
    internal void Set(int channel, double mean, double meanResidual, double variance, double gamma, double beta, double eps)
    {
        var center = CenterOf(mean);
        var scale = gamma * InverseDeviation(variance, eps);
        Constants[Center, channel] = center;
        Constants[Scale, channel] = scale;
        Constants[Offset, channel] = beta - ((mean - center + meanResidual) * scale);
        if (Math.Abs(center) >= LargeCenter) Constants.RequireDouble(channel);
    }
}
