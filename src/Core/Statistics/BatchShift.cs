namespace BnService.Core.Statistics;

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
