using BnService.Core.Tensors;

namespace BnService.Core.Statistics;

/// <summary>Running mean and variance of each channel, moved by one step per batch. Immutable.</summary>
public sealed class RunningStatistics
{
    /// <summary>Running statistics with the given values.</summary>
    /// <param name="mean">Running mean of each channel.</param>
    /// <param name="variance">Running variance of each channel, ≥ 0.</param>
    /// <param name="batchesTracked">Number of batches that went into them.</param>
    /// <param name="isInitial">Whether they are still the initial 0 and 1, which no data has touched.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public RunningStatistics(double[] mean, double[] variance, long batchesTracked, bool isInitial)
    {
        ArgumentNullException.ThrowIfNull(mean);
        ArgumentNullException.ThrowIfNull(variance);
        if (variance.Length != mean.Length) throw new ArgumentException("the numbers of channels differ", nameof(variance));
        (Mean, Variance, BatchesTracked, IsInitial) = (mean, variance, batchesTracked, isInitial);
    }

    /// <summary>Running mean of each channel.</summary>
    public double[] Mean { get; }

    /// <summary>Running variance of each channel.</summary>
    public double[] Variance { get; }

    /// <summary>Number of batches that moved these statistics.</summary>
    public long BatchesTracked { get; }

    /// <summary>Whether no batch has moved them and nobody has set them.</summary>
    public bool IsInitial { get; }

    /// <summary>
    /// Whether mean and variance were replaced as a whole, by a population estimate or from outside without a number of batches: then
    /// nothing of the initial values is left in them, however few batches have been tracked.
    /// </summary>
    public bool AreGiven { get; init; }

    /// <summary>
    /// Sum of the batches' weights in a moving average that has been divided by it (Kingma &amp; Ba 2015, section 3): 0 before the first
    /// batch, then nearer to 1 with each. null for one that has not, in which the initial values have the rest of the weight.
    /// </summary>
    public double? Weight { get; init; }

    /// <summary>The same statistics in the form of a batch's: moments whose mean and variance they are.</summary>
    public Moments AsMoments() => new(1, Mean, new double[Mean.Length], Variance);

    /// <summary>Mean 0 and variance 1, as every framework starts.</summary>
    /// <param name="channels">Number of channels.</param>
    /// <param name="isDebiased">Whether the average of batches is to be divided by their weight.</param>
    public static RunningStatistics Initial(int channels, bool isDebiased = false) =>
        new(ConstantArrays.Of(channels, 0), ConstantArrays.Of(channels, 1), 0, isInitial: true) { Weight = isDebiased ? 0 : null };

    /// <summary>The weight of a number of batches in a moving average that began with nothing: 1 − (1 − α)^t.</summary>
    /// <param name="momentum">α; null for the average of all batches.</param>
    /// <param name="batches">t.</param>
    public static double WeightOf(double? momentum, long batches) => 1 - Convergence.Of(momentum, batches).InitialWeight;

    /// <summary>
    /// r ← (1 − α)·r + α·batch, and one more batch tracked (Ioffe &amp; Szegedy 2015); with a <see cref="Weight"/> w ← (1 − α)·w + α first,
    /// and α/w in place of α.
    /// </summary>
    /// <param name="batch">The batch's moments.</param>
    /// <param name="momentum">α, the weight of the new batch; null for 1/(number of batches): the average of all batches.</param>
    /// <param name="unbiased">Whether the running variance takes M2/(m − 1) or M2/m.</param>
    public RunningStatistics Advance(Moments batch, double? momentum, bool unbiased)
    {
        ArgumentNullException.ThrowIfNull(batch);
        var alpha = momentum ?? 1 / (BatchesTracked + 1.0);
        var weight = Weight is not { } past ? (double?)null : momentum is null ? 1 : ((1 - alpha) * past) + alpha;
        if (weight is { } sum && momentum is not null) alpha = sum == 0 ? 0 : alpha / sum;
        return new RunningStatistics(
            Blend(Mean, batch.Mean, alpha),
            Blend(Variance, batch.Variance(unbiased && batch.Count > 1), alpha),
            Math.Max(BatchesTracked, BatchesTracked + 1), // a count that was given may be the largest there is
            isInitial: false)
        {
            AreGiven = AreGiven,
            Weight = weight,
        };
    }

    private static double[] Blend(double[] running, double[] batch, double alpha)
    {
        var blended = new double[running.Length];
        for (var c = 0; c < blended.Length; c++) blended[c] = ((1 - alpha) * running[c]) + (alpha * batch[c]);
        return blended;
    }
}
