namespace BnService.Harness;

/// <summary>A clock that moves when a test says so, and then runs the timers that are due.</summary>
public sealed class ManualTime : TimeProvider
{
    private readonly Lock _lock = new();
    private readonly List<ManualTimer> _timers = [];
    private DateTimeOffset _now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override DateTimeOffset GetUtcNow()
    {
        lock (_lock) return _now;
    }

    public override long GetTimestamp() => GetUtcNow().UtcTicks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new ManualTimer(this, () => callback(state));
        timer.Change(dueTime, period);
        lock (_lock) _timers.Add(timer);
        return timer;
    }

    /// <summary>Moves the clock without running any timer, as when a timer is late.</summary>
    public void JumpBy(TimeSpan step)
    {
        lock (_lock) _now += step;
    }

    /// <summary>Moves the clock and runs each timer as often as it is due.</summary>
    public void AdvanceBy(TimeSpan step)
    {
        var end = GetUtcNow() + step;
        while (NextDue(end) is { } timer) timer.Run();
        lock (_lock) _now = end;
    }

    /// <summary>Lets time pass until something has ended that waits for it, however late it has begun to wait.</summary>
    public async Task<T> PassAsync<T>(Task<T> waiting)
    {
        while (!waiting.IsCompleted)
        {
            AdvanceBy(TimeSpan.FromSeconds(1));
            await Task.Delay(1);
        }
        return await waiting;
    }

    private ManualTimer? NextDue(DateTimeOffset end)
    {
        lock (_lock)
        {
            var timer = _timers.Where(candidate => candidate.Due <= end).MinBy(candidate => candidate.Due);
            if (timer is not null && timer.Due > _now) _now = timer.Due;
            return timer;
        }
    }

    private sealed class ManualTimer(ManualTime time, Action callback) : ITimer
    {
        private TimeSpan _period = Timeout.InfiniteTimeSpan;

        public DateTimeOffset Due { get; private set; } = DateTimeOffset.MaxValue;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            (Due, _period) = (After(dueTime), period);
            return true;
        }

        public void Run()
        {
            Due = After(_period == TimeSpan.Zero ? Timeout.InfiniteTimeSpan : _period);
            callback();
        }

        public void Dispose()
        {
            lock (time._lock) time._timers.Remove(this);
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        private DateTimeOffset After(TimeSpan span) =>
            span == Timeout.InfiniteTimeSpan ? DateTimeOffset.MaxValue : time.GetUtcNow() + span;
    }
}

/// <summary>A clock that goes as fast as the true one, and wrong.</summary>
public sealed class ShiftedTime(TimeSpan shift) : TimeProvider
{
    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + shift;
}

/// <summary>The true time and its timers, of which a test leaves some out.</summary>
public sealed class JumpingTime : TimeProvider
{
    private long _jumped;

    public override long GetTimestamp() => System.GetTimestamp() + Interlocked.Read(ref _jumped);

    /// <summary>So much has passed.</summary>
    public void JumpBy(TimeSpan step) => Interlocked.Add(ref _jumped, (long)(step.TotalSeconds * TimestampFrequency));
}
