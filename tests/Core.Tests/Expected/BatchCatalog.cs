using System.Collections.Concurrent;
using BnService.Core.Normalizers;

namespace BnService.Core.Tests.Expected;

/// <summary>
/// The batches that every width must get right. Sizes straddle the widths of vectors (1, 2, 4, 8, 16 lanes) and their unrolling, in
/// every place where a layout has a size; the large ones straddle the parallel split.
/// </summary>
internal static class BatchCatalog
{
    private static readonly int[] Ragged = [1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 65, 257];
    private static readonly double[] Eps = [1e-5, 1e-3, 1e-5, 0];
    private static readonly double[] Means = [0, 3, -50, 1000, 0.001];
    private static readonly double[] Deviations = [1, 0.1, 10];

    private static readonly ConcurrentDictionary<string, Lazy<BatchCase>> Known = new();

    /// <summary>Names of small batches, every layout with every ragged size.</summary>
    public static IReadOnlyList<string> Small { get; } = Register([.. SmallShapes()]);

    /// <summary>Names of batches that are cut into several work items.</summary>
    public static IReadOnlyList<string> Large { get; } = Register(
        ([70_000, 3], 1, Granularity.PerChannel),
        ([300, 1000], 1, Granularity.PerChannel),
        ([200_001, 1], 1, Granularity.PerChannel),
        ([7, 90, 71, 5], -1, Granularity.PerChannel),
        ([130, 9, 13, 11], 1, Granularity.PerActivation),
        ([2, 2, 70_001], 1, Granularity.PerChannel),
        ([1500, 3, 7, 7], 1, Granularity.PerChannel),
        ([3, 9, 25_000], 1, Granularity.PerChannel),
        ([5, 129, 15, 17], 1, Granularity.PerChannel));

    /// <summary>The batch of a name, made when it is first asked for.</summary>
    public static BatchCase Named(string name) => Known[name].Value;

    private static IEnumerable<(int[] Shape, int Axis, Granularity Granularity)> SmallShapes()
    {
        for (var i = 0; i < Ragged.Length; i++)
        {
            // another is a ragged size of its own: together they meet many combinations.
            var (size, another) = (Ragged[i], Ragged[((i * 5) + 3) % Ragged.Length]);
            foreach (var shape in new int[][] { [size, 5], [6, size], [size, another], [size, 1] }) yield return (shape, 1, default);
            foreach (var shape in new int[][] { [2, size, 3], [3, 2, size], [2, size, 1], [2, 3, 2, size] })
                yield return (shape, -1, default);
            foreach (var shape in new int[][] { [size, 2, 5], [2, size, 5], [2, 3, size], [size, 2, another], [2, 1, size] })
                yield return (shape, 1, default);
            foreach (var shape in new int[][] { [2, 3, 1, size], [2, 2, 3, size], [1, 2, 2, 3, size] }) yield return (shape, 1, default);
            foreach (var shape in new int[][] { [size, 3, 2], [4, 1, size], [3, 2, 2, size] })
                yield return (shape, i % 2 == 0 ? 1 : -1, Granularity.PerActivation);
        }
        foreach (var shape in new int[][] { [3, 4, 7, 7], [2, 5, 14, 14], [2, 3, 3, 5, 7] }) yield return (shape, 1, default);
        foreach (var shape in new int[][] { [3, 7, 7, 4], [2, 14, 14, 33], [2, 3, 5, 2, 7] }) yield return (shape, -1, default);
    }

    private static List<string> Register(params ReadOnlySpan<(int[] Shape, int Axis, Granularity Granularity)> shapes)
    {
        var names = new List<string>(shapes.Length);
        foreach (var (shape, axis, granularity) in shapes)
        {
            var seed = Known.Count;
            // The parameters that exist and ε go round, so that each meets every layout.
            var layout = new BatchLayout(shape, axis, granularity, HasGamma: seed % 3 != 1, HasBeta: seed % 3 == 0, Eps[seed % 4]);
            var batch = new Lazy<BatchCase>(() => new BatchCase(layout, seed, Typical));
            if (Known.TryAdd(layout.ToString(), batch)) names.Add(layout.ToString());
        }
        return names;
    }

    private static float Typical(int statistic, Random random) =>
        (float)(Means[statistic % Means.Length] + (Deviations[statistic % Deviations.Length] * random.NextGaussian()));
}
