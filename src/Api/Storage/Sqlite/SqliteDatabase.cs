using System.Collections.Concurrent;
using BnService.Api.Hosting;
using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

/// <summary>An open file: one writer, whose waiting writes share a transaction, unless it can only be read now, and a few readers besides.</summary>
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
    /// <param name="time">The clock.</param>
    /// <exception cref="StorageUnusableException">Another process has it, or it is damaged or no database of this service.</exception>
    /// <exception cref="StorageUnavailableException">It can be neither read nor written now.</exception>
    public SqliteDatabase(StorageOptions options, TimeProvider time)
    {
        _file = new SqliteFile(options.Path);
        if (_file.WriteFailure is not null) return;
        _writer = new SqliteWriter(_file.Connect(), options.Durability == "interval" ? TimeSpan.FromMilliseconds(options.IntervalMs) : null, time);
    }

    /// <inheritdoc cref="SqliteFile.WriteFailure"/>
    public StorageUnavailableException? WriteFailure => _file.WriteFailure;

    /// <inheritdoc cref="SqliteFile.Tightened"/>
    public IReadOnlyList<string> Tightened => _file.Tightened;

    /// <inheritdoc cref="SqliteFile.MayBeWritten"/>
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

    /// <inheritdoc/>
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
