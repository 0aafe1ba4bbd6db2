namespace BnService.Core.Statistics;

/// <summary>How much the statistics of a batch differ by chance from those of what it was drawn from.</summary>
public static class BatchNoise
{
    /// <summary>Below this many values a batch's variance is mostly noise: its relative standard deviation is beyond 47 %.</summary>
    public const int SmallBatch = 8;

    /// <summary>Relative standard deviation of the biased variance of m Gaussian values: √(2(m − 1))/m.</summary>
    public static double OfVariance(long count) => Math.Sqrt(2.0 * (count - 1)) / count;

    /// <summary>Standard deviation of the mean of m values, σ/√m.</summary>
    /// <param name="variance">σ².</param>
    /// <param name="count">m.</param>
    public static double OfMean(double variance, long count) => Math.Sqrt(variance / count);
}
