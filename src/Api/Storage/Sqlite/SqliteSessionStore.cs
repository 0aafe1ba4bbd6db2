using System.Collections.Concurrent;
using BnService.Api.Hosting;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Options;

namespace BnService.Api.Storage.Sqlite;

/// <summary>Keeps sessions in one file: what a call has answered is on the disk.</summary>
internal sealed class SqliteSessionStore : ISessionStore, IAsyncDisposable
{
    private const string Columns = "id, name, kind, version, created_at, state";
    private const int Readers = 4;

    private readonly SqliteFile _file;
    private readonly SqliteWriter _writer;
    private readonly SemaphoreSlim _free = new(Readers);
    private readonly ConcurrentBag<SqliteConnection> _idle = [];

    static SqliteSessionStore() => SQLitePCL.Batteries_V2.Init();

    /// <exception cref="StorageUnusableException">The file cannot be used.</exception>
    public SqliteSessionStore(IOptions<StorageOptions> options)
    {
        _file = new SqliteFile(options.Value.Path);
        _writer = new SqliteWriter(_file.Connect());
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) => _writer.WriteAsync(connection =>
    {
        using var command = Command(connection, $"""
            INSERT INTO sessions ({Columns}) SELECT $id, $name, $kind, $version, $created_at, $state
            WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE name IN ($name, $id) OR id IN ($name, $id))
            """, Parameters(session));
        return command.ExecuteNonQuery() == 1;
    });

    /// <inheritdoc/>
    public ValueTask<StoredSession?> FindAsync(string nameOrId, CancellationToken cancellationToken) => ReadAsync(connection =>
    {
        using var command = Command(connection, $"SELECT {Columns} FROM sessions WHERE name = $key OR id = $key ORDER BY name = $key DESC LIMIT 1", ("$key", nameOrId));
        using var reader = command.ExecuteReader();
        return reader.Read() ? Session(reader) : null;
    }, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryUpdateAsync(StoredSession session, long expectedVersion, CancellationToken cancellationToken) => _writer.WriteAsync(connection =>
    {
        using var command = Command(connection, "UPDATE sessions SET version = $version, state = $state WHERE id = $id AND version = $expected",
            ("$version", session.Version), ("$state", Bytes(session.State)), ("$id", session.Id), ("$expected", expectedVersion));
        return command.ExecuteNonQuery() == 1;
    });

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteAsync(string id, long expectedVersion, CancellationToken cancellationToken) => _writer.WriteAsync(connection =>
    {
        using var command = Command(connection, "DELETE FROM sessions WHERE id = $id AND version = $expected", ("$id", id), ("$expected", expectedVersion));
        return command.ExecuteNonQuery() == 1;
    });

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredSession>> ListAsync(SessionQuery query, CancellationToken cancellationToken) => ReadAsync(connection =>
    {
        // Prefixes are compared as the names are, byte by byte.
        using var command = Command(connection, $"""
            SELECT {Columns} FROM sessions
            WHERE ($prefix IS NULL OR substr(name, 1, length($prefix)) = $prefix) AND ($kind IS NULL OR kind = $kind)
                AND ($after_at IS NULL OR (created_at, id) < ($after_at, $after_id))
            ORDER BY created_at DESC, id DESC LIMIT $limit
            """,
            ("$prefix", query.Prefix), ("$kind", query.Kind), ("$limit", query.Limit),
            ("$after_at", query.After?.CreatedAt.UtcTicks), ("$after_id", query.After?.Id));
        using var reader = command.ExecuteReader();
        var page = new List<StoredSession>();
        while (reader.Read()) page.Add(Session(reader));
        return (IReadOnlyList<StoredSession>)page;
    }, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<long> CountAsync(CancellationToken cancellationToken) => ReadAsync(connection =>
    {
        using var command = Command(connection, "SELECT count(*) FROM sessions");
        return (long)command.ExecuteScalar()!;
    }, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _writer.DisposeAsync();
        foreach (var connection in _idle) await connection.DisposeAsync();
        _free.Dispose();
        _file.Dispose();
    }

    // SQLite has no reads that do not block: a few threads are lent to them.
    private async ValueTask<T> ReadAsync<T>(Func<SqliteConnection, T> read, CancellationToken cancellationToken)
    {
        await _free.WaitAsync(cancellationToken);
        try
        {
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

    private static (string, object?)[] Parameters(StoredSession session) =>
    [
        ("$id", session.Id), ("$name", session.Name), ("$kind", session.Kind), ("$version", session.Version),
        ("$created_at", session.CreatedAt.UtcTicks), ("$state", Bytes(session.State)),
    ];

    private static SqliteCommand Command(SqliteConnection connection, string sql, params (string Name, object? Value)[] parameters)
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        foreach (var (name, value) in parameters) command.Parameters.AddWithValue(name, value ?? DBNull.Value);
        return command;
    }

    private static byte[] Bytes(ReadOnlyMemory<byte> state) =>
        System.Runtime.InteropServices.MemoryMarshal.TryGetArray(state, out var segment) && segment.Offset == 0 && segment.Array!.Length == segment.Count
            ? segment.Array
            : state.ToArray();

    private static StoredSession Session(SqliteDataReader reader) => new(
        reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3),
        new DateTimeOffset(reader.GetInt64(4), TimeSpan.Zero), (byte[])reader[5]);
}
