using System.Diagnostics;

namespace BnService.Bench.Timing;

/// <summary>Reads the clock in full: a TimeSpan knows steps of 100 ns only.</summary>
internal static class Clock
{
    public static double MicrosecondsSince(long timestamp) => (Stopwatch.GetTimestamp() - timestamp) * (1e6 / Stopwatch.Frequency);
}

/// <summary>One of those that take turns in a cell of the table.</summary>
/// <param name="name">Its name in the cell.</param>
internal abstract class Contender(string name)
{
    public string Name { get; } = name;

    /// <summary>Microseconds per call, one number per sample.</summary>
    public List<double> Samples { get; } = [];

    /// <summary>Takes its turn: adds samples for about <paramref name="milliseconds"/>, one of them at least.</summary>
    public abstract void Measure(double milliseconds);

    /// <summary>Why it has no time: what went wrong in its turn; null as long as nothing did.</summary>
    public string? Flaw { get; protected set; }

    /// <summary>Drops what it measured so far: that was for warming up.</summary>
    public virtual void Forget() => Samples.Clear();

    /// <summary>The 25th percentile: what a call takes when nothing else disturbs it, without trusting the luckiest one.</summary>
    public virtual double Time() => Quantile(Samples, 0.25);

    /// <summary>The sample that a share of all is below.</summary>
    protected static double Quantile(List<double> samples, double share)
    {
        samples.Sort();
        return samples[(int)(samples.Count * share)];
    }
}

/// <summary>A call in this process, on one set of tensors after the other.</summary>
/// <param name="name">Its name in the cell.</param>
/// <param name="sets">Number of sets.</param>
/// <param name="call">The call, for a set.</param>
internal class Call(string name, int sets, Action<int> call) : Contender(name)
{
    // A reading of the clock takes some 25 ns: repeat what is shorter than this.
    private const double ShortestSample = 20;

    /// <inheritdoc/>
    public override void Measure(double milliseconds)
    {
        var start = Stopwatch.GetTimestamp();
        call(0);
        var once = Timed(1, sets - 1);
        var repeats = Math.Max(1, (int)(ShortestSample / Math.Max(once, 0.001)));
        if (repeats == 1) Samples.Add(once);
        for (var turn = 1; (turn == 1 && repeats > 1) || Stopwatch.GetElapsedTime(start).TotalMilliseconds < milliseconds; turn++)
            Samples.Add(Timed(repeats, turn));
    }

    private double Timed(int repeats, int turn)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < repeats; i++) call((turn + i) % sets);
        return Clock.MicrosecondsSince(start) / repeats;
    }
}

/// <summary>A call that runs on OpenMP's threads.</summary>
/// <inheritdoc/>
internal sealed class OpenMpCall(string name, int sets, Action<int> call) : Call(name, sets, call)
{
    /// <inheritdoc/>
    public override void Measure(double milliseconds)
    {
        base.Measure(milliseconds);
        Settle();
    }

    /// <summary>OpenMP's threads spin for some milliseconds after the last call: not in the next contender's turn.</summary>
    public static void Settle() => Thread.Sleep(4);
}
