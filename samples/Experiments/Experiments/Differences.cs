namespace BnService.Experiments.Experiments;

/// <summary>How far arrays lie apart that should be the same.</summary>
public static class Differences
{
    /// <summary>The largest difference of any two elements, relative to the largest element that is expected.</summary>
    public static double Relative(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected)
    {
        var (difference, largest) = (0.0, 0.0);
        for (var i = 0; i < expected.Length; i++)
            (difference, largest) = (Math.Max(difference, Math.Abs((double)actual[i] - expected[i])), Math.Max(largest, Math.Abs((double)expected[i])));
        return difference / largest;
    }
}
