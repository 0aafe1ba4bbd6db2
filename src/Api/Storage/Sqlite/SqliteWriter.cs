using System.Collections.Concurrent;
using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

/// <summary>
/// The only writer of the file: what waits while a transaction is on its way to the disk is one transaction together, so that many
/// sessions share what one commit costs. Each is answered when it is on the disk.
/// </summary>
internal sealed class SqliteWriter : IAsyncDisposable
{
    private const int MostTogether = 1024;

    private readonly BlockingCollection<Write> _waiting = [];
    private readonly SqliteConnection _connection;
    private readonly Task _writing;

    /// <param name="connection">The connection that is written with; taken over.</param>
    public SqliteWriter(SqliteConnection connection)
    {
        _connection = connection;
        // A thread of its own: SQLite waits for the disk where it is called.
        _writing = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Writes, within a transaction that others may share.</summary>
    /// <param name="write">What is done; whether anything was.</param>
    /// <returns>What <paramref name="write"/> returned, once it is on the disk.</returns>
    /// <exception cref="StorageUnavailableException">It cannot be written now; nothing has been.</exception>
    public ValueTask<bool> WriteAsync(Func<SqliteConnection, bool> write)
    {
        var waiting = new Write(write);
        try
        {
            _waiting.Add(waiting);
        }
        catch (InvalidOperationException)
        {
            throw new StorageUnavailableException("the store has been closed: the service is stopping", null);
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
        foreach (var first in _waiting.GetConsumingEnumerable())
        {
            together.Add(first);
            while (together.Count < MostTogether && _waiting.TryTake(out var next)) together.Add(next);
            try
            {
                using (var transaction = _connection.BeginTransaction())
                {
                    together.ForEach(write => write.Execute(_connection));
                    transaction.Commit();
                }
                together.ForEach(write => write.Finish());
            }
            catch (Exception exception)
            {
                var refusal = exception is SqliteException cause ? new StorageUnavailableException($"the store cannot be written: {cause.Message}", cause) : exception;
                together.ForEach(write => write.Fail(refusal));
            }
            together.Clear();
        }
    }

    private sealed class Write(Func<SqliteConnection, bool> write)
    {
        private readonly TaskCompletionSource<bool> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private bool _hasWritten;

        public Task<bool> Task => _result.Task;

        public void Execute(SqliteConnection connection) => _hasWritten = write(connection);

        public void Finish() => _result.SetResult(_hasWritten);

        public void Fail(Exception exception) => _result.SetException(exception);
    }
}
