namespace BnService.GeneratedClients;

/// <summary>What every client sends, and what it must get: exact values, of float32 where they are elements.</summary>
internal static class Expected
{
    public static readonly int[] Shape = [4, 2];
    public static readonly double[] Batch = [1, 10, 2, 20, 3, 30, 4, 40], Gradient = [1, 0, 1, 0, 1, 0, 1, 0];

    /// <summary>(x - mean) / sqrt(var + eps) with the batch's mean 2.5 and 25, and its variance 1.25 and 125.</summary>
    public static readonly double[] Normalized = Interleaved([-1.5, -0.5, 0.5, 1.5], 1.25, [-15, -5, 5, 15], 125);

    /// <summary>The same with the running ones: 0.1 of the batch's mean, and 0.9 + 0.1 of its unbiased variance.</summary>
    public static readonly double[] Inferred =
        Interleaved([0.75, 1.75, 2.75, 3.75], 0.9 + (0.1 * 5 / 3), [7.5, 17.5, 27.5, 37.5], 0.9 + (0.1 * 500 / 3));

    public static void Is<T>(T actual, T expected)
    {
        if (!Equals(actual, expected)) throw new InvalidOperationException($"expected {expected}, got {actual}");
    }

    public static void Are(IEnumerable<double>? actual, params double[] expected)
    {
        var isClose = actual?.Count() == expected.Length
            && actual.Zip(expected).All(pair => Math.Abs(pair.First - pair.Second) <= 1e-6 * Math.Max(1, Math.Abs(pair.Second)));
        if (!isClose) throw new InvalidOperationException($"expected {string.Join(", ", expected)}, got {string.Join(", ", actual ?? [])}");
    }

    public static IEnumerable<double>? Values(IEnumerable<double?>? numbers) => numbers?.Select(number => number!.Value);

    private static double[] Interleaved(double[] first, double firstVariance, double[] second, double secondVariance) =>
        [.. first.Zip(second).SelectMany(pair => new[] { pair.First / Math.Sqrt(firstVariance + 1e-5), pair.Second / Math.Sqrt(secondVariance + 1e-5) })];
}
