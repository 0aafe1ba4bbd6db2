namespace BnService.Core.Statistics;

/// <summary>How far a batch lies from the running statistics, for the channel where it lies farthest.</summary>
/// <param name="Channel">The channel of the largest divergence.</param>
/// <param name="Divergence">
/// Kullback-Leibler divergence of two Gaussians, in nats: ½[ln(σ_r²/σ_b²) + (σ_b² + (μ_b − μ_r)²)/σ_r² − 1].
/// </param>
/// <param name="PValue">
/// Probability of so much divergence or more in any channel if nothing had changed: 2·m·KL is about χ² with 2 degrees of freedom,
/// so p ≈ exp(−m·KL), times the number of channels (Bonferroni), at most 1.
/// </param>
public sealed record Drift(int Channel, double Divergence, double PValue)
{
    /// <summary>The drift of a batch against running statistics; null where no channel's divergence is a finite number.</summary>
    /// <param name="count">m, the batch's number of values per channel.</param>
    /// <param name="batchMean">Mean of each channel.</param>
    /// <param name="batchVariance">Biased variance of each channel.</param>
    /// <param name="running">What to compare with.</param>
    public static Drift? Of(long count, double[] batchMean, double[] batchVariance, RunningStatistics running)
    {
        ArgumentNullException.ThrowIfNull(batchMean);
        ArgumentNullException.ThrowIfNull(batchVariance);
        ArgumentNullException.ThrowIfNull(running);
        return Largest.Of(batchMean.Length, c => DivergenceOf(batchMean[c], batchVariance[c], running, c)) is { } largest
            ? new Drift(largest.Channel, largest.Value, Math.Min(1, Math.Exp(-count * largest.Value) * batchMean.Length))
            : null;
    }

    /// <summary>The divergence of one channel; not finite where a variance is 0.</summary>
    /// <param name="mean">The batch's mean.</param>
    /// <param name="variance">The batch's biased variance.</param>
    /// <param name="running">What to compare with.</param>
    /// <param name="channel">The channel.</param>
    public static double DivergenceOf(double mean, double variance, RunningStatistics running, int channel)
    {
        ArgumentNullException.ThrowIfNull(running);
        var difference = mean - running.Mean[channel];
        var ratio = variance / running.Variance[channel];
        return 0.5 * (-Math.Log(ratio) + ratio + (difference * difference / running.Variance[channel]) - 1);
    }
}
