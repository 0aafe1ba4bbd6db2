namespace BnService.Core.Statistics;

/// <summary>How far the running statistics lie from the exact union of all batches that moved them, where that is most.</summary>
/// <param name="Mean">|r_μ − μ|/σ, with μ and σ of the union; null where no channel has a finite one, as constant channels.</param>
/// <param name="Variance">|r_σ² − σ²|/σ²; null likewise.</param>
/// <param name="Count">Number of values per channel in the union.</param>
public sealed record EstimateGap(Largest? Mean, Largest? Variance, long Count)
{
    /// <summary>The gap of running statistics to a union.</summary>
    /// <param name="running">The running statistics.</param>
    /// <param name="seen">The exact union.</param>
    /// <param name="unbiased">Which variance the running statistics hold.</param>
    public static EstimateGap Of(RunningStatistics running, Moments seen, bool unbiased)
    {
        ArgumentNullException.ThrowIfNull(running);
        ArgumentNullException.ThrowIfNull(seen);
        var variance = seen.Variance(unbiased && seen.Count > 1);
        return new EstimateGap(
            Largest.Of(seen.Channels, c => Math.Abs(running.Mean[c] - seen.Mean[c]) / Math.Sqrt(variance[c])),
            Largest.Of(seen.Channels, c => Math.Abs(running.Variance[c] - variance[c]) / variance[c]),
            seen.Count);
    }
}
