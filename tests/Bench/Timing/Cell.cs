using System.Diagnostics;
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
internal sealed class Cell(BenchCase benchCase, Operation operation, int threads)
{
    private const int FewestRounds = 5;

    private readonly Dictionary<string, double> _times = [];
    private readonly Dictionary<string, string> _flaws = [];

    public BenchCase Case { get; } = benchCase;

    public Operation Operation { get; } = operation;

    public int Threads { get; } = threads;

    /// <summary>Who gave a wrong result, and how wrong; they were not timed.</summary>
    public IReadOnlyDictionary<string, string> Flaws => _flaws;

    /// <summary>The least time that moving the bytes takes, with whichever stores are faster.</summary>
    public double? LimitTime =>
        Time(Names.Limit) is { } ordinary && Time(Names.StreamedLimit) is { } streamed ? Math.Min(ordinary, streamed) : null;

    /// <summary>The share of the cores that others took meanwhile.</summary>
    public double Disturbance { get; set; }

    public override string ToString() =>
        $"{Case.Name} {Operation.ToString().ToLowerInvariant()} {Threads}T{(Disturbance > Machine.TooMuch ? "*" : "")}";

    /// <summary>Microseconds; null where the contender is absent or wrong.</summary>
    public double? Time(string name) => _times.TryGetValue(name, out var time) ? time : null;

    /// <summary>How many times longer <paramref name="other"/> takes than <paramref name="name"/>.</summary>
    public double? Ratio(string other, string name) => Time(other) / Time(name);

    public void Reject(string name, string flaw) => _flaws[name] = flaw;

    /// <summary>Lets the contenders take turns.</summary>
    /// <param name="contenders">Who takes part.</param>
    /// <param name="rounds">How many times each gets its turn.</param>
    /// <param name="turn">How many milliseconds a turn is.</param>
    /// <param name="most">How many milliseconds all of it may take: when it runs late, turns become shorter and then fewer.</param>
    public void Run(IReadOnlyList<Contender> contenders, int rounds, double turn, double most = double.PositiveInfinity)
    {
        var start = Stopwatch.GetTimestamp();
        foreach (var contender in contenders)
        {
            contender.Measure(turn / 4);
            contender.Samples.Clear();
        }
        for (var round = 0; round < rounds; round++)
        {
            var left = most - Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            if (left < 0 && round >= FewestRounds) break;
            var affordable = Math.Clamp(left / ((rounds - round) * contenders.Count), 0, turn);
            foreach (var contender in contenders) contender.Measure(affordable);
        }
        foreach (var contender in contenders) _times[contender.Name] = contender.Time();
    }
}
