using System.Collections.Concurrent;
using BnService.Api.Hosting;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Options;

namespace BnService.Api.Storage.Sqlite;

/// <summary>Keeps sessions in one file: what a call has answered is on the disk.</summary>
internal sealed partial class SqliteSessionStore : ISessionStore, IAsyncDisposable
{
    private const string HeaderColumns = "id, name, kind, version, created_at, header", Columns = $"{HeaderColumns}, state";
    private const int Readers = 4;

    private readonly SqliteFile _file;
    private readonly SqliteWriter _writer;
    private readonly SemaphoreSlim _free = new(Readers);
    private readonly ConcurrentBag<SqliteConnection> _idle = [];

    /// <inheritdoc/>
    public bool IsShared => false;

    /// <inheritdoc/>
    public event Action<string, long>? Changed { add { } remove { } }

    static SqliteSessionStore() => SQLitePCL.Batteries_V2.Init();

    /// <exception cref="StorageUnusableException">The file cannot be used.</exception>
    public SqliteSessionStore(IOptions<StorageOptions> options, TimeProvider time)
    {
        _file = new SqliteFile(options.Value.Path);
        _writer = new SqliteWriter(_file.Connect(),
            options.Value.Durability == "interval" ? TimeSpan.FromMilliseconds(options.Value.IntervalMs) : null, time);
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) => _writer.WriteAsync(connection => Execute(connection, $"""
        INSERT INTO sessions ({Columns}) SELECT $id, $name, $kind, $version, $created_at, $header, $state
        WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE name IN ($name, $id) OR id IN ($name, $id))
        """,
        ("$id", session.Id), ("$name", session.Name), ("$kind", session.Kind), ("$version", session.Version),
        ("$created_at", session.CreatedAt.UtcTicks), ("$header", Bytes(session.Header)), ("$state", Bytes(session.State))) == 1);

    /// <inheritdoc/>
    public ValueTask<StoredSession?> FindAsync(string nameOrId, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT {Columns} FROM sessions WHERE name = $key OR id = $key ORDER BY name = $key DESC LIMIT 1",
        reader => new StoredSession(
            reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), Time(reader.GetInt64(4)), (byte[])reader[5], (byte[])reader[6]),
        cancellationToken, ("$key", nameOrId));

    /// <inheritdoc/>
    public ValueTask<long?> FindVersionAsync(string id, CancellationToken cancellationToken) => ReadAsync(
        connection => VersionOf(connection, id), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryUpdateAsync(
        StoredSession session, long expectedVersion, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken) => _writer.WriteAsync(connection =>
    {
        // Nobody else writes: what is looked at first holds until the end, and nothing has to be undone.
        if (VersionOf(connection, session.Id) != expectedVersion || answers.Any(answer => IsRemembered(connection, session.Id, answer))) return false;
        if (session.Version != expectedVersion)
        {
            Execute(connection, "UPDATE sessions SET version = $version, header = $header, state = $state WHERE id = $id",
                ("$version", session.Version), ("$header", Bytes(session.Header)), ("$state", Bytes(session.State)), ("$id", session.Id));
        }
        foreach (var answer in answers) Remember(connection, session.Id, answer);
        return true;
    });

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteAsync(string id, long expectedVersion, CancellationToken cancellationToken) => _writer.WriteAsync(connection =>
    {
        if (Execute(connection, "DELETE FROM sessions WHERE id = $id AND version = $expected", ("$id", id), ("$expected", expectedVersion)) == 0) return false;
        Execute(connection, "DELETE FROM answers WHERE session_id = $id; DELETE FROM snapshots WHERE session_id = $id", ("$id", id));
        return true;
    });

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken) => FindAllAsync(
        // Prefixes are compared as the names are, byte by byte.
        $"""
        SELECT {HeaderColumns} FROM sessions
        WHERE ($prefix IS NULL OR substr(name, 1, length($prefix)) = $prefix) AND ($kind IS NULL OR kind = $kind)
            AND ($after_at IS NULL OR (created_at, id) < ($after_at, $after_id))
        ORDER BY created_at DESC, id DESC LIMIT $limit
        """,
        reader => new StoredHeader(
            reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), Time(reader.GetInt64(4)), (byte[])reader[5]),
        cancellationToken, ("$prefix", query.Prefix), ("$kind", query.Kind), ("$limit", query.Limit),
        ("$after_at", query.After?.CreatedAt.UtcTicks), ("$after_id", query.After?.Id));

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

    private async ValueTask<T?> FindOneAsync<T>(
        string sql, Func<SqliteDataReader, T> row, CancellationToken cancellationToken, params (string Name, object? Value)[] parameters)
        where T : class =>
        await FindAllAsync(sql, row, cancellationToken, parameters) is [var found, ..] ? found : null;

    private ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        string sql, Func<SqliteDataReader, T> row, CancellationToken cancellationToken, params (string Name, object? Value)[] parameters) =>
        ReadAsync(connection =>
        {
            using var command = Command(connection, sql, parameters);
            using var reader = command.ExecuteReader();
            var rows = new List<T>();
            while (reader.Read()) rows.Add(row(reader));
            return (IReadOnlyList<T>)rows;
        }, cancellationToken);

    private static long? VersionOf(SqliteConnection connection, string id)
    {
        using var command = Command(connection, "SELECT version FROM sessions WHERE id = $id", ("$id", id));
        return (long?)command.ExecuteScalar();
    }

    private static int Execute(SqliteConnection connection, string sql, params (string Name, object? Value)[] parameters)
    {
        using var command = Command(connection, sql, parameters);
        return command.ExecuteNonQuery();
    }

    private static SqliteCommand Command(SqliteConnection connection, string sql, params (string Name, object? Value)[] parameters)
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        foreach (var (name, value) in parameters) command.Parameters.AddWithValue(name, value ?? DBNull.Value);
        return command;
    }

    private static byte[] Bytes(ReadOnlyMemory<byte> bytes) =>
        System.Runtime.InteropServices.MemoryMarshal.TryGetArray(bytes, out var segment) && segment.Offset == 0 && segment.Array!.Length == segment.Count
            ? segment.Array
            : bytes.ToArray();

    private static DateTimeOffset Time(long ticks) => new(ticks, TimeSpan.Zero);
}
