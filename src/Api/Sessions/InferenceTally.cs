namespace BnService.Api.Sessions;

/// <summary>How often something happened, and how long it took altogether.</summary>
internal readonly record struct TimesTaken(long Count, long Nanoseconds)
{
    public TimesTaken Plus(TimeSpan once) => new(Count + 1, Nanoseconds + (once.Ticks * TimeSpan.NanosecondsPerTick));
}

/// <summary>What the infer requests of a session came to.</summary>
internal readonly record struct InferenceTotals
{
    /// <summary>When the last inference ended; null where there was none.</summary>
    public DateTimeOffset? LastInference { get; init; }

    public long Samples { get; init; }

    public TimesTaken Success { get; init; }

    /// <summary>Requests that were refused or given up.</summary>
    public TimesTaken Fail { get; init; }

    /// <summary>Waiting for the body of any request.</summary>
    public TimesTaken Queue { get; init; }

    /// <summary>Reading the tensors of what was answered.</summary>
    public TimesTaken Input { get; init; }

    /// <summary>Normalizing it, into the memory that it is sent from.</summary>
    public TimesTaken Infer { get; init; }

    /// <summary>Writing it: nothing that is left once it is normalized.</summary>
    public TimesTaken Output { get; init; }
}

/// <summary>Counts the infer requests of a session on this node, in memory alone. What is read fits together.</summary>
internal sealed class InferenceTally
{
    private readonly Lock _lock = new();
    private InferenceTotals _totals;

    public InferenceTotals Totals
    {
        get
        {
            lock (_lock) return _totals;
        }
    }

    public void Add(Func<InferenceTotals, InferenceTotals> request)
    {
        lock (_lock) _totals = request(_totals);
    }
}

/// <summary>Follows one infer request through its phases; it has failed unless it is said to be answered.</summary>
internal sealed class InferenceTiming(InferenceTally tally, TimeProvider time) : IDisposable
{
    private readonly long _start = time.GetTimestamp();
    private long? _arrived, _read;
    private bool _isCounted;

    public void Arrived() => _arrived = time.GetTimestamp();

    public void Read() => _read = time.GetTimestamp();

    /// <summary>The answer is written, but for its last bytes: whoever has read all of it finds it counted.</summary>
    public void Answered(int samples)
    {
        var now = time.GetTimestamp();
        var (arrived, read) = (_arrived!.Value, _read!.Value);
        _isCounted = true;
        tally.Add(totals => totals with
        {
            LastInference = time.GetUtcNow(),
            Samples = totals.Samples + samples,
            Success = totals.Success.Plus(time.GetElapsedTime(_start, now)),
            Queue = totals.Queue.Plus(time.GetElapsedTime(_start, arrived)),
            Input = totals.Input.Plus(time.GetElapsedTime(arrived, read)),
            Infer = totals.Infer.Plus(time.GetElapsedTime(read, now)),
            Output = totals.Output.Plus(TimeSpan.Zero),
        });
    }

    public void Dispose()
    {
        if (_isCounted) return;
        var now = time.GetTimestamp();
        tally.Add(totals => totals with
        {
            Fail = totals.Fail.Plus(time.GetElapsedTime(_start, now)),
            Queue = totals.Queue.Plus(time.GetElapsedTime(_start, _arrived ?? now)),
        });
    }
}
