namespace BnService.Core.Statistics;

/// <summary>
/// Statistics of a whole data set, gathered batch by batch (Ioffe &amp; Szegedy 2015, algorithm 2; Wu &amp; Johnson 2021): the exact
/// union, in any order and any sizes. Immutable.
/// </summary>
/// <param name="Moments">The union of all batches; finite, of one value or more per channel.</param>
/// <param name="Batches">Number of batches in it.</param>
public sealed record PopulationEstimate(Moments Moments, long Batches)
{
    /// <summary>The estimate over the values of both.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/> where the union is more than the numbers can hold.</exception>
    public static PopulationEstimate Union(PopulationEstimate? a, PopulationEstimate b)
    {
        ArgumentNullException.ThrowIfNull(b);
        if (a is null) return b;
        if (b.Moments.Count > long.MaxValue - a.Moments.Count || b.Batches > long.MaxValue - a.Batches)
            throw TooLarge($"would have more than {long.MaxValue} values: {a.Moments.Count} and {b.Moments.Count}");
        var moments = Moments.Merge(a.Moments, b.Moments);
        return moments.IsFinite ? new(moments, a.Batches + b.Batches) : throw TooLarge("would have an m2 or a mean beyond double: the means lie too far apart");
    }

    private static LayerException TooLarge(string what) => new(LayerError.InvalidOption, $"the union of the population estimates {what}");
}
