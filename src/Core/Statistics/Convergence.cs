namespace BnService.Core.Statistics;

/// <summary>Whether the running statistics have forgotten where they started.</summary>
/// <param name="InitialWeight">What is left of the initial values in the moving average: (1 − α)^t.</param>
/// <param name="EffectiveBatches">How many batches the average rests on once settled, (2 − α)/α, at most the largest finite number; for the
/// cumulative average, all so far.</param>
public sealed record Convergence(double InitialWeight, double EffectiveBatches)
{
    /// <summary>Below this weight the initial values no longer show in what is served.</summary>
    public const double SettledWeight = 0.01;

    /// <summary>Whether less than <see cref="SettledWeight"/> of the initial values is left.</summary>
    public bool IsSettled => InitialWeight < SettledWeight;

    /// <summary>
    /// Standard deviation of the running mean, once settled, relative to that of a single batch's mean: √(α/(2 − α)); 1/√t for the
    /// cumulative average. Times σ/√m it is the noise of the running mean.
    /// </summary>
    public double RelativeNoise => EffectiveBatches > 0 ? 1 / Math.Sqrt(EffectiveBatches) : 0;

    /// <summary>
    /// The convergence of a layer's running statistics: where they were given as a whole nothing of the initial values is left.
    /// </summary>
    /// <param name="momentum">α, the weight of a new batch; null for the cumulative average.</param>
    /// <param name="running">The running statistics.</param>
    public static Convergence Of(double? momentum, RunningStatistics running)
    {
        ArgumentNullException.ThrowIfNull(running);
        var convergence = Of(momentum, running.BatchesTracked);
        if (running.Weight is { } weight)
        {
            // Σw²/(Σw)² of the weights α·(1 − α)^i whose sum is w, against that of all of them.
            var part = Math.Min(weight, 1);
            return new(weight > 0 ? 0 : 1, momentum is null ? convergence.EffectiveBatches
                : convergence.EffectiveBatches * part / (2 - part));
        }
        return running.AreGiven ? convergence with { InitialWeight = 0 } : convergence;
    }

    /// <summary>The number of batches after which less than <see cref="SettledWeight"/> is left; null where none suffices.</summary>
    /// <param name="momentum">α, the weight of a new batch; null for the cumulative average.</param>
    /// <param name="isDebiased">Whether the average holds nothing of the initial values from the first batch on.</param>
    public static double? BatchesToSettle(double? momentum, bool isDebiased) => momentum switch
    {
        null => 1,
        > 0 when isDebiased => 1,
        // So small a weight that 1 − α is 1.
        { } alpha when 1 - alpha == 1 => null,
        { } alpha => Math.Floor(Math.Log(SettledWeight) / Math.Log(1 - alpha)) + 1,
    };

    /// <summary>The convergence of a moving average after a number of batches.</summary>
    /// <param name="momentum">α, the weight of a new batch; null for the cumulative average.</param>
    /// <param name="batchesTracked">t, the number of batches.</param>
    public static Convergence Of(double? momentum, long batchesTracked) => momentum is { } alpha
        ? new(Math.Pow(1 - alpha, batchesTracked), alpha > 0 ? Math.Min((2 - alpha) / alpha, double.MaxValue) : 0)
        : new(batchesTracked > 0 ? 0 : 1, batchesTracked);
}

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
