using BnService.Bench.Cases;
using BnService.Core.Simd;

namespace BnService.Bench.Timing;

/// <summary>The names of the contenders in a cell.</summary>
internal static class Names
{
    public const string Limit = "limit, ordinary stores";
    public const string StreamedLimit = "limit, non-temporal stores";
    public const string OursOnOneThread = "ours on one thread";
    public const string OurStatistics = "our statistics";
    public const string FloatStatistics = "float statistics";
    public const string OneDnn = "oneDNN";
    public const string Torch = "PyTorch, memory reused";
    public const string TorchDefault = "PyTorch, default";
    public const string Composed = "TensorPrimitives";

    public static string Ours(VectorWidth width) => $"ours at {(int)width} bits";

    /// <summary>Ours with all that the peers' calls do as well: in inference the map of each channel is prepared anew.</summary>
    public static string OursWhole(VectorWidth width) => $"ours at {(int)width} bits, map included";
}

/// <summary>A row of the table: one case, operation and number of threads, and what its contenders took.</summary>
/// <param name="benchCase">The case.</param>
/// <param name="operation">The operation.</param>
/// <param name="threads">The number of threads.</param>
internal sealed class Cell(BenchCase benchCase, Operation operation, int threads) : Standings
{
    public BenchCase Case { get; } = benchCase;

    public Operation Operation { get; } = operation;

    public int Threads { get; } = threads;

    /// <summary>The least time that moving the bytes takes, with whichever stores are faster.</summary>
    public double? LimitTime =>
        Time(Names.Limit) is { } ordinary && Time(Names.StreamedLimit) is { } streamed ? Math.Min(ordinary, streamed) : null;

    public override string ToString() => $"{Case.Name} {Operation.ToString().ToLowerInvariant()} {Threads}T{Mark}";
}
