namespace BnService.Core.Statistics;

/// <summary>
/// Count, mean and sum of squared deviations of each channel: what a batch contributes, and what merges exactly
/// (Chan, Golub, LeVeque 1979). Kept in double.
/// </summary>
public sealed class Moments
{
    /// <summary>Moments of <paramref name="mean"/>.Length channels.</summary>
    /// <param name="count">Number of values per channel.</param>
    /// <param name="mean">Mean of each channel.</param>
    /// <param name="meanResidual">What rounding the mean to double left over: the mean is the unevaluated sum of both.</param>
    /// <param name="m2">Σ(x − mean)² of each channel.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public Moments(long count, double[] mean, double[] meanResidual, double[] m2)
    {
        ArgumentNullException.ThrowIfNull(mean);
        ArgumentNullException.ThrowIfNull(meanResidual);
        ArgumentNullException.ThrowIfNull(m2);
        if (meanResidual.Length != mean.Length || m2.Length != mean.Length)
            throw new ArgumentException("the numbers of channels differ", nameof(m2));
        (Count, Mean, MeanResidual, M2) = (count, mean, meanResidual, m2);
    }

    /// <summary>Number of values per channel.</summary>
    public long Count { get; }

    /// <summary>Mean of each channel.</summary>
    public double[] Mean { get; }

    /// <summary>
    /// What rounding the mean to double left over; it matters for values that lie closer to the mean than double resolves it.
    /// </summary>
    public double[] MeanResidual { get; }

    /// <summary>Σ(x − mean)² of each channel.</summary>
    public double[] M2 { get; }

    /// <summary>Number of channels.</summary>
    public int Channels => Mean.Length;

    /// <summary>The moments of no values: the neutral element of <see cref="Merge"/>.</summary>
    public static Moments Empty(int channels) => new(0, new double[channels], new double[channels], new double[channels]);

    /// <summary>Moments that are all set later: until then they are undefined.</summary>
    internal static Moments Unset(long count, int channels) => new(
        count, GC.AllocateUninitializedArray<double>(channels), GC.AllocateUninitializedArray<double>(channels),
        GC.AllocateUninitializedArray<double>(channels));

    /// <summary>Variance of each channel: M2 / count, or M2 / (count − 1).</summary>
    /// <param name="unbiased">Whether to divide by count − 1; needs a count of 2 or more.</param>
    public double[] Variance(bool unbiased)
    {
        var divisor = Math.Max(unbiased ? Count - 1 : Count, 1);
        return Array.ConvertAll(M2, m2 => m2 / divisor);
    }

    /// <summary>Whether every mean and variance is a finite number, which holds if and only if every value was.</summary>
    public bool IsFinite => Array.TrueForAll(Mean, double.IsFinite) && Array.TrueForAll(M2, double.IsFinite);

    /// <summary>The moments of the union of two sets of values; an empty side is skipped.</summary>
    /// <exception cref="ArgumentException">The numbers of channels differ.</exception>
    public static Moments Merge(Moments a, Moments b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        if (a.Channels != b.Channels) throw new ArgumentException("the numbers of channels differ", nameof(b));
        if (a.Count == 0) return b;
        if (b.Count == 0) return a;
        var count = a.Count + b.Count;
        var (ofA, ofB, ofBoth) = ((double)a.Count, (double)b.Count, (double)count);
        var mean = new double[a.Channels];
        var residual = new double[a.Channels];
        var m2 = new double[a.Channels];
        for (var c = 0; c < mean.Length; c++)
        {
            // Without the residuals, the difference of two means far from 0 is off by more than the variance may be.
            var difference = b.Mean[c] - a.Mean[c];
            var left = SumResidual(b.Mean[c], -a.Mean[c], difference) + (b.MeanResidual[c] - a.MeanResidual[c]);
            var delta = difference + left;
            m2[c] = a.M2[c] + b.M2[c] + (delta * delta * (ofA * ofB / ofBoth));
            // What the step to the common mean is rounded by goes into the residual as well: a value next to the mean has an output of
            // that size.
            var product = difference * ofB;
            var step = product / ofBoth;
            var stepLeft = (Math.FusedMultiplyAdd(-step, ofBoth, product) + Math.FusedMultiplyAdd(difference, ofB,
                -product) + (left * ofB)) / ofBoth;
            var sum = a.Mean[c] + step;
            var sumLeft = SumResidual(a.Mean[c], step, sum) + (stepLeft + a.MeanResidual[c]);
            // A step that is not finite would make NaN of an infinite mean, or of two that lie further apart than double reaches.
            var isFinite = double.IsFinite(step) && double.IsFinite(sum);
            mean[c] = isFinite ? sum + sumLeft : (a.Mean[c] * (ofA / ofBoth)) + (b.Mean[c] * (ofB / ofBoth));
            residual[c] = isFinite ? sumLeft - (mean[c] - sum) : 0;
        }
        return new Moments(count, mean, residual, m2);
    }

    // What a + b loses when rounded to the sum (Knuth's two-sum).
    private static double SumResidual(double a, double b, double sum)
    {
        var part = sum - a;
        return a - (sum - part) + (b - part);
    }
}

/// <summary>
/// Statistics of a whole data set, gathered batch by batch (Ioffe &amp; Szegedy 2015, algorithm 2; Wu &amp; Johnson 2021): the exact
/// union, in any order and any sizes. Immutable.
/// </summary>
/// <param name="Moments">The union of all batches; finite, of one value or more per channel.</param>
/// <param name="Batches">Number of batches in it.</param>
public sealed record PopulationEstimate(Moments Moments, long Batches)
{
    /// <summary>The estimate over the values of both.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/> where the union is more than the numbers can
    /// hold.</exception>
    public static PopulationEstimate Union(PopulationEstimate? a, PopulationEstimate b)
    {
        ArgumentNullException.ThrowIfNull(b);
        if (a is null) return b;
        if (b.Moments.Count > long.MaxValue - a.Moments.Count || b.Batches > long.MaxValue - a.Batches)
            throw TooLarge($"would have more than {long.MaxValue} values: {a.Moments.Count} and {b.Moments.Count}");
        var moments = Moments.Merge(a.Moments, b.Moments);
        return moments.IsFinite ? new(moments, a.Batches + b.Batches)
            : throw TooLarge("would have an m2 or a mean beyond double: the means lie too far apart");
    }

    private static LayerException TooLarge(string what) => new(LayerError.InvalidOption, $"the union of the population estimates {what}");
}
