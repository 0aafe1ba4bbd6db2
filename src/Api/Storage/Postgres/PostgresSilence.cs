namespace BnService.Api.Storage.Postgres;

/// <summary>
/// Knows whether the database has fallen silent, as behind a way that drops all packets. Who asks then is refused at once and does not wait
/// for what will not come, while this node goes on to try whether it is there again.
/// </summary>
/// <param name="ask">Asks the database for anything; whoever answers is <see cref="Heard"/>. May fail.</param>
/// <param name="time">The clock.</param>
internal sealed class PostgresSilence(Func<Task> ask, TimeProvider time)
{
    // An attempt may take as long as anything else: the next ones do not wait for it, and are not many.
    private const int MostAttempts = 3;
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);

    private long _heardAt = time.GetTimestamp();
    private int _isSilent, _attempts;

    /// <summary>Whether it is known not to answer.</summary>
    public bool IsSilent => Volatile.Read(ref _isSilent) != 0;

    /// <summary>It has said something.</summary>
    public void Heard()
    {
        Volatile.Write(ref _heardAt, time.GetTimestamp());
        Volatile.Write(ref _isSilent, 0);
    }

    /// <summary>It has not answered in time: it is silent if it has not answered anybody else meanwhile either.</summary>
    /// <param name="begun">When it was asked.</param>
    /// <returns>Whether it has fallen silent with this.</returns>
    public bool HasMissed(long begun)
    {
        if (Volatile.Read(ref _heardAt) >= begun || Interlocked.Exchange(ref _isSilent, 1) != 0) return false;
        _ = ListenAsync();
        return true;
    }

    /// <summary>Waits until it has said something, but not for long.</summary>
    /// <returns>Whether it has.</returns>
    public async Task<bool> EndsWithinAsync(TimeSpan patience)
    {
        for (var begun = time.GetTimestamp(); IsSilent && time.GetElapsedTime(begun) < patience;) await Task.Delay(FirstPause, time);
        return !IsSilent;
    }

    private async Task ListenAsync()
    {
        for (var pause = FirstPause; IsSilent; pause = PostgresDatabase.Longer(pause))
        {
            if (Volatile.Read(ref _attempts) < MostAttempts) _ = AttemptAsync();
            await Task.Delay(pause, time);
        }
    }

    private async Task AttemptAsync()
    {
        Interlocked.Increment(ref _attempts);
        await ask().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Interlocked.Decrement(ref _attempts);
    }
}
