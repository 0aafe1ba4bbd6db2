namespace BnService.Client.Tests.Harness;

/// <summary>A clock on which waits are over as soon as they begin, and are remembered. Limits of attempts never come.</summary>
public sealed class SkippedTime : TimeProvider
{
    private readonly List<TimeSpan> _waits = [];
    private long _now;

    /// <summary>Longer than any wait: the limit of an attempt.</summary>
    public static TimeSpan Limit { get; } = TimeSpan.FromHours(1);

    /// <summary>What was waited.</summary>
    public IReadOnlyList<TimeSpan> Waits => _waits;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Volatile.Read(ref _now);

    public override DateTimeOffset GetUtcNow() => new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero).AddTicks(GetTimestamp());

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        if (dueTime >= Limit || dueTime < TimeSpan.Zero) return new Idle();
        _waits.Add(dueTime);
        Interlocked.Add(ref _now, dueTime.Ticks);
        ThreadPool.QueueUserWorkItem(_ => callback(state));
        return new Idle();
    }

    private sealed class Idle : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period) => true;

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
