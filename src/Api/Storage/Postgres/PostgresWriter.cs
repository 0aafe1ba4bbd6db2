using System.Threading.Channels;
using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// Writes: what waits while a transaction is on its way is one transaction together and one round trip, so that many sessions share what
/// one commit costs; a large one is a transaction of its own, beside which the others go on. Each is answered for itself. When a connection
/// breaks before the answer, it is found out on another one what was made.
/// </summary>
internal sealed class PostgresWriter : IAsyncDisposable
{
    /// <summary>The most transactions at one time.</summary>
    public const int MostUnderWay = 8;

    private const int MostTogether = 256;
    private const long MostBytesTogether = 16L << 20, LargeBytes = 256 << 10;

    // How long the next transaction waits for the one before it, which takes along more the longer it waits.
    private static readonly TimeSpan Precedence = TimeSpan.FromMilliseconds(100);

    // How long the outcome of a write is asked for, and how many bytes may take a second longer than a command otherwise may.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10), ShortestPause = TimeSpan.FromMilliseconds(20);

    // And how long a database that says nothing at all is listened for: who asks has waited for long enough.
    private static readonly TimeSpan PatienceWithSilence = TimeSpan.FromSeconds(2);
    private const long BytesPerSecond = 8L << 20;

    private readonly PostgresDatabase _database;
    private readonly TimeProvider _time;
    private readonly Channel<PostgresWrite> _waiting = Channel.CreateUnbounded<PostgresWrite>(
        new UnboundedChannelOptions { SingleReader = true });
    private readonly SemaphoreSlim _underWay = new(MostUnderWay);
    private readonly Queue<PostgresWrite> _large = new();
    private readonly Task _writing;

    /// <param name="database">Where to.</param>
    public PostgresWriter(PostgresDatabase database, TimeProvider time)
    {
        (_database, _time) = (database, time);
        _writing = RunAsync();
    }

    /// <summary>The <c>synchronous_commit</c> of transactions, where it is not to be the server's; null where it is.</summary>
    public string? CommitMode { get; set; }

    /// <summary>Writes.</summary>
    /// <returns>Whether it was made.</returns>
    /// <exception cref="StorageUnavailableException">
    /// It was not made, or it is not known whether it was: the message tells which.
    /// </exception>
    public async ValueTask<bool> WriteAsync(PostgresWrite write, CancellationToken cancellationToken)
    {
        if (!_waiting.Writer.TryWrite(write)) throw new StorageUnavailableException(
            "the store has been closed: the service is stopping", null);
        return await write.Task.WaitAsync(cancellationToken);
    }

    /// <summary>Writes what waits, and ends.</summary>
    public async ValueTask DisposeAsync()
    {
        _waiting.Writer.TryComplete();
        await _writing;
    }

    private async Task RunAsync()
    {
        while (await _waiting.Reader.WaitToReadAsync())
        {
            await _underWay.WaitAsync();
            // What takes long, for a row that somebody else has or a database that is away, does not keep the others waiting.
            await CommitOrSettleAsync(Take()).WaitAsync(Precedence, _time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            while (_large.TryDequeue(out var large))
            {
                await _underWay.WaitAsync();
                _ = CommitOrSettleAsync([large]);
            }
        }
        for (var i = 0; i < MostUnderWay; i++) await _underWay.WaitAsync();
    }

    private async Task CommitOrSettleAsync(List<PostgresWrite> together)
    {
        try
        {
            if (together.Count > 0) await CommitAsync(together, isAgain: false);
        }
        catch (Exception exception)
        {
            await SettleAsync(together, exception);
        }
        finally
        {
            _underWay.Release();
        }
    }

    private List<PostgresWrite> Take()
    {
        var together = new List<PostgresWrite>();
        for (var size = 0L; together.Count < MostTogether && size < MostBytesTogether
            && _waiting.Reader.TryRead(out var write); size += write.Size)
        {
            if (write.Size >= LargeBytes) _large.Enqueue(write);
            else together.Add(write);
        }
        // Stable: what waits for one session keeps its order.
        return [.. together.OrderBy(write => write.SessionId, StringComparer.Ordinal)];
    }

    private async Task CommitAsync(List<PostgresWrite> together, bool isAgain)
    {
        if (_database.IsSilent) throw new TimeoutException(PostgresFailure.NoAnswer);
        var made = new bool?[together.Count];
        PostgresCall? sending = null;
        try
        {
            await _database.WithinAsync(call => SendAsync(sending = call), _database.Patience + Extra(together));
        }
        catch (Exception exception) when (PostgresFailure.IsOfDatabase(exception) && !PostgresFailure.IsRefusal(exception))
        {
            if (sending?.IsSent == true) together.ForEach(write => write.IsInDoubt = true);
            throw;
        }
        for (var i = 0; i < made.Length; i++) together[i].Finish(made[i]);

        async Task<bool> SendAsync(PostgresCall call)
        {
            await using var connection = await _database.ConnectAsync(CancellationToken.None);
            await using var batch = Batch(connection, together, isAgain);
            await using var reader = await call.SendAsync(batch);
            var rows = new AnsweredRows(reader);
            for (var i = 0; i < made.Length; i++) made[i] = await together[i].ReadAsync(rows, isAgain);
            while (await reader.NextResultAsync())
            {
            }
            return true;
        }
    }

    private static TimeSpan Extra(List<PostgresWrite> together) => TimeSpan.FromSeconds(together.Sum(write => write.Size) / BytesPerSecond);

    // BEGIN and COMMIT are sent with the rest: a transaction is one round trip.
    private NpgsqlBatch Batch(NpgsqlConnection connection, List<PostgresWrite> together, bool isAgain)
    {
        var batch = connection.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand("BEGIN"));
        if (CommitMode is not null) batch.BatchCommands.Add(new NpgsqlBatchCommand($"SET LOCAL synchronous_commit = {CommitMode}"));
        foreach (var write in together)
        {
            foreach (var statement in write.Statements(isAgain)) batch.BatchCommands.Add(PostgresWrite.Command(statement));
        }
        batch.BatchCommands.Add(new NpgsqlBatchCommand("COMMIT"));
        return batch;
    }

    // What has failed is done again: where it was made after all, it tells so, and where it was not, it is made now. Never throws.
    private async Task SettleAsync(List<PostgresWrite> together, Exception failure)
    {
        var begun = _time.GetTimestamp();
        for (var pause = ShortestPause; ; pause = PostgresDatabase.Longer(pause))
        {
            var isOfDatabase = PostgresFailure.IsOfDatabase(failure);
            if (isOfDatabase) _database.Failed(failure);
            if (!PostgresFailure.IsCollision(failure) && (!isOfDatabase || PostgresFailure.IsRefusal(failure)) && together.Count > 1)
            {
                // One of them is to blame, and only that one is to fail.
                foreach (var write in together) await CommitAloneAsync(write);
                return;
            }
            if (!isOfDatabase)
            {
                together.ForEach(write => write.Fail(failure));
                return;
            }
            var isWorthwhile = PostgresFailure.IsCollision(failure)
                || (together.Any(write => write.IsInDoubt) && PostgresFailure.MayPass(failure));
            if (!isWorthwhile || _time.GetElapsedTime(begun) > Patience || !await _database.AnswersWithinAsync(PatienceWithSilence))
            {
                together.ForEach(write => write.Fail(PostgresFailure.Reason(failure), failure));
                return;
            }
            await Task.Delay(pause, _time);
            try
            {
                await CommitAsync(together, isAgain: true);
                return;
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        }
    }

    private async Task CommitAloneAsync(PostgresWrite write)
    {
        try
        {
            await CommitAsync([write], isAgain: true);
        }
        catch (Exception exception)
        {
            await SettleAsync([write], exception);
        }
    }
}
