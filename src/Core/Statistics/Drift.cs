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
    /// <summary>
    /// Nats that a divergence must reach to matter: those of a mean that is off by 1/√2 standard deviations, between Cohen's medium (0.5)
    /// and
    /// large (0.8) effect, or of a standard deviation that is 1.6 or 0.55 times as large. A mean that is off by a whole one has 0.5,
    /// doubled
    /// values have 0.81 or more, and halved ones 0.32.
    /// </summary>
    public const double Relevant = 0.25;

    /// <summary>A divergence that is less likely than this over all channels is not by chance.</summary>
    public const double Significant = 0.001;

    /// <summary>(μ_b − μ_r)/σ_r of the channel: how far its mean is off, in running standard deviations.</summary>
    public required double MeanShift { get; init; }

    /// <summary>σ_b/σ_r of the channel.</summary>
    public required double DeviationRatio { get; init; }

    /// <summary>
    /// Whether the divergence is not by chance, with a value per sample: the positions of one sample are alike, so that a single picture's
    /// thousand values say little more of the next one than one would.
    /// </summary>
    public bool IsSignificant { get; init; }

    /// <summary>
    /// Whether the batch drifts: as much as matters, and not by chance. Large batches make the smallest shift unlikely, and small ones
    /// scatter
    /// far, so that neither says it alone.
    /// </summary>
    public bool IsRelevant => Divergence >= Relevant && IsSignificant;

    /// <summary>The drift of a batch against running statistics; null where no channel's divergence is a finite number.</summary>
    /// <param name="count">m, the batch's number of values per channel.</param>
    /// <param name="batchMean">Mean of each channel.</param>
    /// <param name="batchVariance">Biased variance of each channel.</param>
    /// <param name="running">What to compare with.</param>
    /// <param name="independent">How many of them chance has drawn one by one; null for all.</param>
    public static Drift? Of(long count, double[] batchMean, double[] batchVariance, RunningStatistics running, long? independent = null)
    {
        ArgumentNullException.ThrowIfNull(batchMean);
        ArgumentNullException.ThrowIfNull(batchVariance);
        ArgumentNullException.ThrowIfNull(running);
        var (channel, largest) = (-1, double.NegativeInfinity);
        for (var c = 0; c < batchMean.Length; c++)
        {
            // Every step asks, and a logarithm costs as much as everything else: only where it can matter.
            if (!(Bound(batchMean[c] - running.Mean[c], batchVariance[c], running.Variance[c]) > largest)) continue;
            var divergence = DivergenceOf(batchMean[c], batchVariance[c], running, c);
            if (double.IsFinite(divergence) && divergence > largest) (channel, largest) = (c, divergence);
        }
        if (channel < 0) return null;
        var deviation = Math.Sqrt(running.Variance[channel]);
        double Likelihood(long values) => Math.Min(1, Math.Exp(-values * largest) * batchMean.Length);
        return new Drift(channel, largest, Likelihood(count))
        {
            IsSignificant = Likelihood(independent ?? count) < Significant,
            MeanShift = (batchMean[channel] - running.Mean[channel]) / deviation,
            DeviationRatio = Math.Sqrt(batchVariance[channel]) / deviation,
        };
    }

    // Never below the divergence: q − 1 − ln q ≤ (q − 1)²/(2·min(q, 1)) for the variances' ratio q, and a little for rounding.
    private static double Bound(double difference, double variance, double running)
    {
        const double rounding = 1e-14;
        var ratio = variance / running;
        var ofVariance = (ratio - 1) * (ratio - 1) / (2 * Math.Min(ratio, 1));
        return (0.5 * (ofVariance + (difference * difference / running)) * (1 + rounding)) + rounding;
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

/// <summary>Where a batch lies against the running statistics, over all channels.</summary>
/// <param name="Rms">Root mean square of the channels' shifts (μ_b − μ_r)/σ_r.</param>
/// <param name="Largest">The largest of their absolute values, and its channel.</param>
/// <param name="VarianceRatio">Mean of the channels' σ_b²/σ_r².</param>
public sealed record BatchShift(double Rms, Largest Largest, double VarianceRatio)
{
    /// <summary>Where a batch lies; channels where that is no finite number are left out. Null where none is left.</summary>
    /// <param name="mean">Mean of each channel of the batch.</param>
    /// <param name="variance">Biased variance of each channel.</param>
    /// <param name="running">What to compare with.</param>
    public static BatchShift? Of(double[] mean, double[] variance, RunningStatistics running)
    {
        ArgumentNullException.ThrowIfNull(mean);
        ArgumentNullException.ThrowIfNull(variance);
        ArgumentNullException.ThrowIfNull(running);
        var (squares, ratios, counted, channel, largest) = (0.0, 0.0, 0, -1, double.NegativeInfinity);
        for (var c = 0; c < mean.Length; c++)
        {
            var shift = (mean[c] - running.Mean[c]) / Math.Sqrt(running.Variance[c]);
            var ratio = variance[c] / running.Variance[c];
            if (!double.IsFinite(shift) || !double.IsFinite(ratio)) continue;
            squares += shift * shift;
            ratios += ratio;
            counted++;
            if (Math.Abs(shift) > largest) (channel, largest) = (c, Math.Abs(shift));
        }
        return counted == 0 ? null : new BatchShift(Math.Sqrt(squares / counted), new Largest(channel, largest), ratios / counted);
    }
}

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

/// <summary>The largest of the channels' values, and whose it is.</summary>
/// <param name="Channel">The channel.</param>
/// <param name="Value">Its value, finite.</param>
public sealed record Largest(int Channel, double Value)
{
    /// <summary>The largest finite value over channels; null where none is finite.</summary>
    /// <param name="channels">Number of channels.</param>
    /// <param name="valueOf">Value of a channel.</param>
    public static Largest? Of(int channels, Func<int, double> valueOf)
    {
        ArgumentNullException.ThrowIfNull(valueOf);
        var (channel, largest) = (-1, double.NegativeInfinity);
        for (var c = 0; c < channels; c++)
        {
            var value = valueOf(c);
            if (double.IsFinite(value) && value > largest) (channel, largest) = (c, value);
        }
        return channel < 0 ? null : new Largest(channel, largest);
    }
}
