using System.Collections.Concurrent;
using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

/// <summary>
/// An open file: one writer, whose waiting writes share a transaction, unless it can only be read now, and a few readers besides.
/// </summary>
internal sealed class SqliteDatabase : IAsyncDisposable
{
    private const int Readers = 4;

    private readonly SqliteFile _file;
    private readonly SqliteWriter? _writer;
    private readonly SemaphoreSlim _free = new(Readers);
    private readonly ConcurrentBag<SqliteConnection> _idle = [];
    private int _isDisposed;

    /// <summary>Opens the file, and makes it where there is none.</summary>
    /// <param name="options">Name the file, and how durable it is.</param>
    /// <exception cref="StorageUnusableException">Another process has it, or it is damaged or no database of this service.</exception>
    /// <exception cref="StorageUnavailableException">It can be neither read nor written now.</exception>
    public SqliteDatabase(StorageOptions options, TimeProvider time)
    {
        _file = new SqliteFile(options.Path);
        if (_file.WriteFailure is not null) return;
        _writer = new SqliteWriter(_file.Connect(), options.Durability == "interval" ? TimeSpan.FromMilliseconds(options.IntervalMs)
            : null, time);
    }

    public StorageUnavailableException? WriteFailure => _file.WriteFailure;

    public IReadOnlyList<string> Tightened => _file.Tightened;

    public bool MayBeWritten() => _file.MayBeWritten();

    /// <summary>Writes, within a transaction that others may share; see <see cref="SqliteWriter.WriteAsync"/>.</summary>
    /// <exception cref="StorageUnavailableException">It can only be read now.</exception>
    public ValueTask<bool> WriteAsync(long bytes, Func<SqliteConnection, bool> write) =>
        _writer is null ? throw _file.WriteFailure! : _writer.WriteAsync(bytes, write);

    /// <summary>Reads.</summary>
    /// <exception cref="StorageUnavailableException">It cannot be read now.</exception>
    /// <exception cref="ObjectDisposedException">It has been closed.</exception>
    public async ValueTask<T> ReadAsync<T>(Func<SqliteConnection, T> read, CancellationToken cancellationToken)
    {
        await _free.WaitAsync(cancellationToken);
        try
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _isDisposed) != 0, this);
            // SQLite has no reads that do not block: a few threads are lent to them.
            return await Task.Run(() =>
            {
                if (!_idle.TryTake(out var connection)) connection = _file.Connect();
                try
                {
                    return read(connection);
                }
                finally
                {
                    _idle.Add(connection);
                }
            }, cancellationToken);
        }
        catch (SqliteException exception)
        {
            throw new StorageUnavailableException($"the store cannot be read: {exception.Message}", exception);
        }
        finally
        {
            _free.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        // The store is more than one service of the container, and disposed of as each of them.
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0) return;
        if (_writer is not null) await _writer.DisposeAsync();
        // Who reads is waited for, and who comes now finds it closed.
        for (var i = 0; i < Readers; i++) await _free.WaitAsync();
        while (_idle.TryTake(out var connection)) await connection.DisposeAsync();
        _file.Dispose();
        _free.Release(Readers);
    }
}

/// <summary>
/// The only writer of the file: what waits while a transaction is on its way to the disk is one transaction together, so that many sessions
/// share what one commit costs. Each is answered when it is on the disk. A large one has a transaction of its own, before which the small
/// ones that wait are written: they wait for one of them at most.
/// </summary>
internal sealed class SqliteWriter : IAsyncDisposable
{
    /// <summary>A write of so many bytes is a large one.</summary>
    public const long LargeBytes = 256 << 10;

    private const int MostTogether = 1024;
    private const long MostBytesTogether = 4 << 20;

    private readonly BlockingCollection<Write> _waiting = [];
    private readonly TimeSpan? _interval;
    private readonly TimeProvider _time;
    private readonly SqliteConnection _connection;
    private readonly Task _writing;
    private readonly Queue<Write> _large = new();

    // When what is not on the disk yet has to be; null where all is.
    private long? _since;

    /// <param name="interval">How long what was answered may wait before it is brought to the disk; null for not at all.</param>
    public SqliteWriter(SqliteConnection connection, TimeSpan? interval, TimeProvider time)
    {
        (_connection, _interval, _time) = (connection, interval, time);
        // A thread of its own: SQLite waits for the disk where it is called.
        _writing = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Writes, within a transaction that others may share.</summary>
    /// <param name="bytes">About how many bytes are written.</param>
    /// <returns>What <paramref name="write"/> returned, once it is on the disk.</returns>
    /// <exception cref="StorageUnavailableException">It cannot be written now; nothing has been.</exception>
    public ValueTask<bool> WriteAsync(long bytes, Func<SqliteConnection, bool> write)
    {
        var waiting = new Write(bytes, write);
        try
        {
            _waiting.Add(waiting);
        }
        catch (InvalidOperationException)
        {
            throw new StorageUnavailableException(SqliteSessionStore.Closed, null);
        }
        return new ValueTask<bool>(waiting.Task);
    }

    /// <summary>Writes what waits, and ends.</summary>
    public async ValueTask DisposeAsync()
    {
        _waiting.CompleteAdding();
        await _writing;
        _waiting.Dispose();
        await _connection.DisposeAsync();
    }

    private void Run()
    {
        var together = new List<Write>();
        while (TryTake(together))
        {
            // In turns: neither the small ones nor the large ones wait for all of the others.
            if (together.Count > 0 || _large.Count == 0) Commit(together);
            if (!_large.TryDequeue(out var large)) continue;
            together.Add(large);
            Commit(together);
        }
    }

    private void Commit(List<Write> together)
    {
        try
        {
            var isDue = _interval is not { } interval || (_since is { } begun && _time.GetElapsedTime(begun) >= interval);
            if (_interval is not null) SetSynchronous(isDue);
            // What brings the end of the log to the disk brings all of it; without a write there is no end.
            if (together.Count == 0) together.Add(new Write(0, Touch));
            Execute("BEGIN IMMEDIATE");
            together.ForEach(write => write.Execute(_connection));
            Execute("COMMIT");
            together.ForEach(write => write.Finish());
            _since = isDue ? null : _since ?? _time.GetTimestamp();
        }
        catch (Exception exception)
        {
            RollBack();
            var refusal = exception is SqliteException cause
                ? new StorageUnavailableException($"the store cannot be written: {cause.Message}", cause) : exception;
            together.ForEach(write => write.Fail(refusal));
            // Not at once again: a full disk is not empty in a moment.
            if (_since is not null) _since = _time.GetTimestamp();
        }
        together.Clear();
    }

    // False at the end. No more are waited for where what waits for the disk has waited for long enough.
    private bool TryTake(List<Write> together)
    {
        var patience = _since is { } begun ? _interval!.Value - _time.GetElapsedTime(begun) : Timeout.InfiniteTimeSpan;
        if (_large.Count > 0 || (_since is not null && patience < TimeSpan.Zero)) patience = TimeSpan.Zero;
        for (var bytes = 0L; together.Count < MostTogether && bytes < MostBytesTogether
            && _waiting.TryTake(out var next, patience); patience = TimeSpan.Zero)
        {
            if (next.Bytes >= LargeBytes) _large.Enqueue(next);
            else together.Add(next);
            bytes += next.Bytes;
        }
        return together.Count > 0 || _large.Count > 0 || _since is not null;
    }

    private void SetSynchronous(bool isFull) => Execute(isFull ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");

    private void RollBack()
    {
        try
        {
            Execute("ROLLBACK");
        }
        catch (SqliteException)
        {
            // Some failures, as that of a full disk, have ended the transaction already.
        }
    }

    private void Execute(string sql)
    {
        using var command = _connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    private static bool Touch(SqliteConnection connection)
    {
        SqliteSchema.Touch(connection);
        return true;
    }

    private sealed class Write(long bytes, Func<SqliteConnection, bool> write)
    {
        private readonly TaskCompletionSource<bool> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private bool _hasWritten;

        public Task<bool> Task => _result.Task;

        public long Bytes => bytes;

        public void Execute(SqliteConnection connection) => _hasWritten = write(connection);

        public void Finish() => _result.SetResult(_hasWritten);

        public void Fail(Exception exception) => _result.SetException(exception);
    }
}
