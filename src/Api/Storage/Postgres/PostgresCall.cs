using Npgsql;

namespace BnService.Api.Storage.Postgres;

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
