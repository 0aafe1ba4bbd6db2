namespace BnService.Api.Sessions;

/// <summary>Which of many are looked at: one an interval in the long run, and some more at once after a pause.</summary>
/// <param name="interval">The time between two in the long run.</param>
/// <param name="atOnce">How many may follow each other without it, 1 or more.</param>
internal sealed class SampleRate(TimeSpan interval, int atOnce)
{
    private readonly Lock _lock = new();

    // When those that were taken would have been taken one an interval, and the next one would be.
    private TimeSpan? _due;

    /// <summary>Whether one is to be looked at now, which then counts as done.</summary>
    public bool Takes(TimeProvider time)
    {
        lock (_lock)
        {
            var now = time.GetElapsedTime(0);
            if (_due is { } due && now < due - ((atOnce - 1) * interval)) return false;
            _due = (_due > now ? _due.Value : now) + interval;
            return true;
        }
    }
}
