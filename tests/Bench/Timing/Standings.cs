using System.Diagnostics;

namespace BnService.Bench.Timing;

/// <summary>What the contenders of one row of a table took, and who is out of it.</summary>
internal abstract class Standings
{
    private const int FewestRounds = 5;

    private readonly Dictionary<string, double> _times = [];
    private readonly Dictionary<string, string> _flaws = [];

    /// <summary>Who gave a wrong result, and how wrong; they were not timed.</summary>
    public IReadOnlyDictionary<string, string> Flaws => _flaws;

    /// <summary>The share of the cores that others took meanwhile.</summary>
    public double Disturbance { get; set; }

    /// <summary>Follows the row's name where others took so much that the row is not to be trusted.</summary>
    protected string Mark => Disturbance > Machine.TooMuch ? "*" : "";

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
            contender.Forget();
        }
        for (var round = 0; round < rounds; round++)
        {
            var left = most - Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            if (left < 0 && round >= FewestRounds) break;
            var affordable = Math.Clamp(left / ((rounds - round) * contenders.Count), 0, turn);
            foreach (var contender in contenders) contender.Measure(affordable);
        }
        foreach (var contender in contenders)
        {
            if (contender.Flaw is { } flaw) Reject(contender.Name, flaw);
            else _times[contender.Name] = contender.Time();
        }
    }
}
