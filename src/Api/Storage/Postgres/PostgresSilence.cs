using Npgsql;

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

/// <summary>
/// A batch on its way to the database. Who is not waited for any longer is told to stop by a thread of its own, never by one of the pool:
/// to tell a database to stop, Npgsql opens another connection, and blocks the thread until that has been heard or its time is over, which
/// it is for each call where the way to the database drops all packets. The same it does where its own time limit for a command is over.
/// </summary>
internal sealed class PostgresCall
{
    private const int SmallStack = 256 << 10;
    private static readonly TimeSpan BetweenAttempts = TimeSpan.FromMilliseconds(100);

    private NpgsqlBatch? _batch;
    private int _isGivenUp;

    /// <summary>Whether the batch has been sent, or is about to be.</summary>
    public bool IsSent { get; private set; }

    /// <summary>Sends a batch, unless nobody waits for it any more.</summary>
    /// <exception cref="TimeoutException">Nobody does; nothing has been sent.</exception>
    public Task<NpgsqlDataReader> SendAsync(NpgsqlBatch batch)
    {
        // Either this sees that it has been given up, or who gives it up sees the batch.
        Interlocked.Exchange(ref _batch, batch);
        if (Interlocked.CompareExchange(ref _isGivenUp, 0, 0) != 0) throw new TimeoutException("nobody waits for it any more");
        IsSent = true;
        return batch.ExecuteReaderAsync();
    }

    /// <summary>Nobody waits for it any more.</summary>
    /// <param name="running">Ends when its connection is free again.</param>
    public void GiveUp(Task running)
    {
        Interlocked.Exchange(ref _isGivenUp, 1);
        if (Interlocked.CompareExchange(ref _batch, null, null) is not { } batch) return;
        new Thread(() => Stop(batch, running), SmallStack) { IsBackground = true, Name = "BnService stops a statement" }.Start();
    }

    // More than once, for it may have been between two of its steps.
    private static void Stop(NpgsqlBatch batch, Task running)
    {
        do
        {
            try
            {
                batch.Cancel();
            }
            catch (Exception)
            {
                // It has come to its end in this moment, and Npgsql has let go of what it had: nobody is to be told of that.
            }
        }
        while (!((IAsyncResult)running).AsyncWaitHandle.WaitOne(BetweenAttempts));
    }
}
