using BnService.Core.Normalizers;

namespace BnService.Core.Tests.Expected;

/// <summary>The tensors that every kind and width must get right: sizes straddle vectors and their unrolling wherever a layout has a size.</summary>
internal static class KindCatalog
{
    private static readonly int[] Ragged = [1, 2, 7, 8, 15, 17, 33, 70];
    private static readonly (bool HasGamma, bool HasBeta)[] Parameters = [(true, true), (true, false), (false, false), (false, true)];
    private static readonly double[] Eps = [1e-5, 1e-3, 1e-5, 0, 1e-5];
    private static readonly double[] Means = [0, 3, -50, 1000, 0.001];
    private static readonly double[] Deviations = [1, 0.1, 10];

    private static readonly NormalizerKind[] OverRows = [NormalizerKind.LayerNorm, NormalizerKind.RmsNorm];

    /// <summary>Tensors of every layout with every ragged size.</summary>
    public static IReadOnlyList<KindCase> Small { get; } = Make([.. SmallRows(), .. SmallChannels()]);

    /// <summary>Tensors that are cut into several work items, or into slices that threads share.</summary>
    public static IReadOnlyList<KindCase> Large { get; } = Make(
        [.. OverRows.SelectMany(kind => new KindLayout[]
        {
            new(kind, [400, 300]), new(kind, [2, 70_001]), new(kind, [40_000, 3]), new(kind, [5, 5, 40, 70], Trailing: 2),
            new(kind, [70_000, 1]),
        }),
        new(NormalizerKind.GroupNorm, [20, 12, 17, 20], Groups: 3),
        new(NormalizerKind.GroupNorm, [1, 2, 70_001], Groups: 1),
        new(NormalizerKind.GroupNorm, [2, 32, 40, 30], Groups: 4),
        new(NormalizerKind.GroupNorm, [700, 5, 24], ChannelAxis: -1, Groups: 6),
        new(NormalizerKind.GroupNorm, [2, 9000, 8], ChannelAxis: -1, Groups: 2),
        new(NormalizerKind.GroupNorm, [600, 130], Groups: 10),
        new(NormalizerKind.GroupNorm, [2, 40_000], Groups: 1),
        new(NormalizerKind.InstanceNorm, [40, 40, 7, 7]),
        new(NormalizerKind.InstanceNorm, [1, 2, 70_001]),
        new(NormalizerKind.InstanceNorm, [700, 4, 5, 6], ChannelAxis: -1),
        // More than one slice of samples taken together, the last one shorter.
        new(NormalizerKind.GroupNorm, [1300, 20, 45], Groups: 5)]);

    /// <summary>A case with values that are typical, but whose size and place differ from statistic to statistic.</summary>
    public static KindCase Typical(KindLayout layout, int seed) => new(layout, seed, (statistic, _, random) =>
        Means[statistic % Means.Length] + (Deviations[statistic % Deviations.Length] * random.NextGaussian()));

    private static IEnumerable<KindLayout> SmallRows()
    {
        foreach (var kind in OverRows)
        {
            foreach (var size in Ragged)
            {
                yield return new(kind, [5, size]);
                yield return new(kind, [size, 6]);
                yield return new(kind, [size, 33]);
                yield return new(kind, [2, size, 3], Trailing: 2);
                yield return new(kind, [2, 3, size]);
                yield return new(kind, [2, 5, size], Trailing: 3);
                yield return new(kind, [2, 2, 3, size], Trailing: 3);
                yield return new(kind, [2, size, 2, 1, 3], Trailing: 2);
                yield return new(kind, [1, 2, 3, size, 2], Trailing: 3);
                yield return new(kind, [size, 2, 1]);
                yield return new(kind, [2, size, 1, 1], Trailing: 2);
                yield return new(kind, [9, size, 1, 1, 1], Trailing: 3);
            }
        }
    }

    private static IEnumerable<KindLayout> SmallChannels()
    {
        foreach (var size in Ragged)
        {
            foreach (var groups in new[] { 1, 2, 3, 6 })
            {
                yield return new(NormalizerKind.GroupNorm, [size, 6], Groups: groups);
                yield return new(NormalizerKind.GroupNorm, [2, 6, size], Groups: groups);
                yield return new(NormalizerKind.GroupNorm, [2, size, 6], ChannelAxis: -1, Groups: groups);
            }
            foreach (var groups in new[] { 1, size, 2 * size })
            {
                yield return new(NormalizerKind.GroupNorm, [3, 2 * size, 3], Groups: groups);
                yield return new(NormalizerKind.GroupNorm, [2, 2, 3, 2 * size], ChannelAxis: -1, Groups: groups);
            }
            foreach (var axis in new[] { 1, -1 })
            {
                yield return new(NormalizerKind.GroupNorm, axis == 1 ? [2, 4, 3, 1, size] : [2, 3, 1, size, 4], axis, Groups: 2);
                yield return new(NormalizerKind.InstanceNorm, axis == 1 ? [size, 3, 5] : [size, 5, 3], axis);
                yield return new(NormalizerKind.InstanceNorm, axis == 1 ? [2, size, 2, 3] : [2, 2, 3, size], axis);
                yield return new(NormalizerKind.InstanceNorm, axis == 1 ? [2, 9, 1, 2, size] : [2, 1, 2, size, 9], axis);
                yield return new(NormalizerKind.InstanceNorm, axis == 1 ? [3, 1, size] : [3, size, 1], axis);
            }
        }
        foreach (var groups in new[] { 1, 4, 16 }) yield return new(NormalizerKind.GroupNorm, [2, 16, 14, 14], Groups: groups);
    }

    // The parameters that exist and ε go round, so that each meets every layout.
    private static KindCase[] Make(KindLayout[] layouts) =>
        [.. layouts.Select((layout, i) => Typical(layout with
        {
            HasGamma = Parameters[i % 4].HasGamma,
            HasBeta = Parameters[i % 4].HasBeta,
            Eps = Eps[i % 5],
        }, seed: i))];
}
