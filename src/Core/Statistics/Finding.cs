namespace BnService.Core.Statistics;

/// <summary>Something that is allowed but seldom meant, with the numbers that show it.</summary>
/// <param name="Code">Stable name in kebab-case.</param>
/// <param name="Detail">What was seen.</param>
/// <param name="Remedy">What to do about it.</param>
/// <param name="Numbers">The numbers behind the detail, by name; <c>channels</c> is the number of channels it concerns.</param>
/// <param name="Channels">The first of the channels that it concerns; null where it concerns the layer as a whole.</param>
public sealed record Finding(string Code, string Detail, string Remedy, IReadOnlyDictionary<string, double> Numbers,
    int[]? Channels = null);
