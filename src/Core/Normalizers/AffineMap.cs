using BnService.Core.Kernels;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>
/// The affine map per channel that normalization comes to once the statistics are known: y = (x − center)·scale + offset,
/// with center = (float)μ, scale = γ·s, s = 1/√(σ² + ε) and offset = β − (μ − center)·scale, prepared in double.
/// </summary>
public sealed class AffineMap : IDisposable
{
    private AffineMap(int channels) => Constants = new ChannelConstants(channels, MapTarget.KindsOf(splitsScale: false));

    internal ChannelConstants Constants { get; }

    /// <summary>The map of a batch's own statistics (biased variance).</summary>
    /// <param name="batch">The batch's moments.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    public static AffineMap Of(Moments batch, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return Of(batch.Mean, batch.MeanResidual, batch.M2, 1.0 / Math.Max(batch.Count, 1), gamma, beta, eps);
    }

    /// <summary>The map of running statistics.</summary>
    /// <param name="running">The running statistics.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    public static AffineMap Of(RunningStatistics running, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(running);
        return Of(running.Mean, null, running.Variance, 1, gamma, beta, eps);
    }

    /// <inheritdoc/>
    public void Dispose() => Constants.Dispose();

    private static AffineMap Of(
        double[] mean, double[]? residual, double[] variance, double perValue, double[]? gamma, double[]? beta, double eps)
    {
        // A sample without positions has no statistics, whatever the layer has.
        if (mean.Length > 0 && ((gamma ?? mean).Length != mean.Length || (beta ?? mean).Length != mean.Length))
            throw new ArgumentException($"expected gamma and beta of {mean.Length} channels, got {gamma?.Length} and {beta?.Length}");
        var map = new AffineMap(mean.Length);
        if (mean.Length > 0) MapsOfStatistics.Set(mean, residual, variance, perValue, 0, new(map.Constants, gamma, beta, eps, mean.Length), mean.Length);
        return map;
    }
}
