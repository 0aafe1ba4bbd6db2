using BnService.Bench.Timing;

namespace BnService.Bench.Http;

/// <summary>What single exchanges took, in microseconds.</summary>
/// <param name="Median">Half of them took at most this.</param>
/// <param name="High">99 in a hundred took at most this.</param>
internal sealed record Latency(double Median, double High);

/// <summary>A row of the table: one size and number of connections, and what its contenders took.</summary>
/// <param name="httpCase">The case.</param>
internal sealed class HttpCell(HttpCase httpCase) : Standings
{
    private readonly Dictionary<string, Latency> _latencies = [];

    public HttpCase Case { get; } = httpCase;

    /// <summary>What single exchanges took, by contender.</summary>
    public IReadOnlyDictionary<string, Latency> Latencies => _latencies;

    /// <summary>Megabytes of x in a second, one way; null where the contender is absent or wrong.</summary>
    public double? Throughput(string name) => Case.Bytes / Time(name);

    /// <summary>Lets the contenders take turns.</summary>
    public void Run(IReadOnlyList<Contender> contenders, int rounds, TimeSpan turn, TimeSpan most)
    {
        base.Run(contenders, rounds, turn.TotalMilliseconds, most.TotalMilliseconds);
        foreach (var contender in contenders.OfType<HttpContender>().Where(contender => contender.Flaw is null))
            _latencies[contender.Name] = new Latency(contender.MedianLatency, contender.HighLatency);
    }

    public override string ToString() => $"{Case.Name}{Mark}";
}
