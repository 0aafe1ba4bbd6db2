namespace BnService.Api.Sessions;

/// <summary>Which of many are looked at: one an interval in the long run, and some more at once after a pause.</summary>
/// <param name="interval">The time between two in the long run.</param>
/// <param name="atOnce">How many may follow each other without it, 1 or more.</param>
internal sealed class SampleRate(TimeSpan interval, int atOnce)
{
    private readonly Lock _lock = new();

    // The clock when it was first asked: far from zero an elapsed time is not exact.
    private long? _start;

    // When the next one would be taken, had all been taken one an interval.
    private TimeSpan _due;

    /// <summary>Whether one is to be looked at now, which then counts as done.</summary>
    public bool Takes(TimeProvider time)
    {
        lock (_lock)
        {
            var now = time.GetElapsedTime(_start ??= time.GetTimestamp());
            if (now < _due - ((atOnce - 1) * interval)) return false;
            _due = (_due > now ? _due : now) + interval;
            return true;
        }
    }
}
