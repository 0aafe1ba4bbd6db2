using BnService.Api.Hosting;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Options;

namespace BnService.Api.Storage.Sqlite;

/// <summary>Keeps sessions in one file: what a call has answered is on the disk.</summary>
internal sealed partial class SqliteSessionStore : ISessionStore, IAsyncDisposable
{
    private const string HeaderColumns = "id, name, kind, version, created_at, header", Columns = $"{HeaderColumns}, state, owner";

    // A length stands in the row itself: what is long is not read for that.
    private const string BoundedState = "CASE WHEN length(state) <= $most THEN state END, length(state)";

    internal const string Closed = "the store has been closed: the service is stopping";

    private static readonly TimeSpan BetweenAttempts = TimeSpan.FromSeconds(1);

    private readonly StorageOptions _options;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _opening = new(1);
    private volatile SqliteDatabase? _database;
    private StorageUnavailableException? _failure;
    private long _failedAt;
    private volatile bool _isClosed;

    /// <inheritdoc/>
    public bool IsShared => false;

    /// <inheritdoc/>
    public event Action<string, long>? Changed { add { } remove { } }

    /// <summary>
    /// Opens the file. Where it cannot be written now, as on a full or read-only disk, it is read, and that it can is tried again when something
    /// is to be stored.
    /// </summary>
    /// <exception cref="StorageUnusableException">The file cannot be used at all.</exception>
    public SqliteSessionStore(IOptions<StorageOptions> options, ILogger<SqliteSessionStore> logger, TimeProvider time)
    {
        (_options, _logger, _time) = (options.Value, logger, time);
        Open();
        if (_database is null) LogUnavailable(logger, _failure!.Message);
        else if (_failure is not null) LogReadOnly(logger, _failure.Message);
        else _sweeping = Task.Run(() => SweepAsync(null));
    }

    /// <inheritdoc/>
    public bool IsOpen
    {
        get
        {
            if (_database is null) _ = TryOpenAsync(TimeSpan.Zero, CancellationToken.None);
            return _database is not null;
        }
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) => WriteAsync(session.Size, connection => Execute(connection, $"""
        INSERT INTO sessions ({Columns}) SELECT $id, $name, $kind, $version, $created_at, $header, $state, $owner
        WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE name IN ($name, $id) OR id IN ($name, $id))
        """,
        ("$id", session.Id), ("$name", session.Name), ("$kind", session.Kind), ("$version", session.Version),
        ("$created_at", session.CreatedAt.UtcTicks), ("$header", Bytes(session.Header)), ("$state", Bytes(session.State)),
        ("$owner", session.Owner)) == 1);

    /// <inheritdoc/>
    public ValueTask<StoredSession?> FindAsync(string nameOrId, long most, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT {HeaderColumns}, owner, {BoundedState} FROM sessions WHERE name = $key OR id = $key ORDER BY name = $key DESC LIMIT 1",
        reader => new StoredSession(
            reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), Time(reader.GetInt64(4)), Blob(reader, 5), Blob(reader, 7))
        {
            Owner = reader.IsDBNull(6) ? null : reader.GetString(6),
            Withheld = Withheld(reader, 8, most),
        },
        cancellationToken, ("$key", nameOrId), ("$most", most));

    /// <inheritdoc/>
    public ValueTask<string?> FindNameAsync(string? name, string id, CancellationToken cancellationToken) => FindOneAsync(
        "SELECT name FROM sessions WHERE name = $name OR id = $id", reader => reader.GetString(0), cancellationToken, ("$name", name), ("$id", id));

    /// <inheritdoc/>
    public ValueTask<StoredVersion?> FindVersionAsync(string id, CancellationToken cancellationToken) => ReadAsync(
        connection => (StoredVersion?)VersionOf(connection, id), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken) => WriteAsync(
            session.Size + answers.Sum(answer => (long)answer.Content.Length), connection =>
    {
        // Nobody else writes: what is looked at first holds until the end, and nothing has to be undone.
        if (VersionOf(connection, session.Id) != expected.Number || answers.Any(answer => IsRemembered(connection, session.Id, answer))) return false;
        if (session.Version != expected.Number)
        {
            Execute(connection, "UPDATE sessions SET version = $version, header = $header, state = $state WHERE id = $id",
                ("$version", session.Version), ("$header", Bytes(session.Header)), ("$state", Bytes(session.State)), ("$id", session.Id));
        }
        foreach (var answer in answers) Remember(connection, session.Id, answer);
        return true;
    });

    /// <inheritdoc/>
    public async ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken)
    {
        var isMore = false;
        if (!await WriteAsync(connection =>
        {
            if (Execute(connection, "DELETE FROM sessions WHERE id = $id AND version = $expected", ("$id", id), ("$expected", expected.Number)) == 0) return false;
            Execute(connection, "DELETE FROM traffic WHERE session_id = $id", ("$id", id));
            isMore = DeleteSomeOf(connection, id);
            return true;
        })) return false;
        if (isMore) await SweepAsync(id);
        return true;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _isClosed = true;
        if (_database is not null) await _database.DisposeAsync();
        await _sweeping;
    }

    // Whether it is open; where it can only be read, also whether it could be opened to be written, where that has not just been tried. Of
    // those who ask at one time one tries: a disk that does not answer holds one thread.
    private async Task<bool> TryOpenAsync(TimeSpan patience, CancellationToken cancellationToken)
    {
        if (!await _opening.WaitAsync(patience, cancellationToken)) return _database is not null;
        try
        {
            if (_database is { WriteFailure: null } || _isClosed) return _database is not null;
            if (_time.GetElapsedTime(_failedAt) < BetweenAttempts) return _database is not null;
            if (_database?.MayBeWritten() == false)
            {
                _failedAt = _time.GetTimestamp();
                return true;
            }
            var wasReadOnly = _database is not null;
            if (_database is not null) await _database.DisposeAsync();
            _database = null;
            try
            {
                Open();
            }
            catch (StorageUnusableException exception)
            {
                // What ends a start is no reason to end a service that has been started, which serves what it has in memory.
                (_failure, _failedAt) = (new StorageUnavailableException(exception.Message, exception), _time.GetTimestamp());
            }
            if (_database is { WriteFailure: null }) LogAvailable(_logger, _options.Path);
            else if (_database is null && wasReadOnly) LogUnavailable(_logger, _failure!.Message);
            return _database is not null;
        }
        finally
        {
            _opening.Release();
        }
    }

    private async ValueTask<SqliteDatabase> OpenedAsync(CancellationToken cancellationToken) =>
        _database ?? (await TryOpenAsync(BetweenAttempts, cancellationToken) ? _database : null)
            ?? throw _failure ?? new StorageUnavailableException(Closed, null);

    private void Open()
    {
        try
        {
            _database = new SqliteDatabase(_options, _time);
            _failure = _database.WriteFailure;
            if (_database.Tightened.Count > 0) LogTightened(_logger, string.Join(", ", _database.Tightened));
        }
        catch (StorageUnavailableException exception)
        {
            _failure = exception;
        }
        _failedAt = _time.GetTimestamp();
    }

    private ValueTask<bool> WriteAsync(Func<SqliteConnection, bool> write) => WriteAsync(0, write);

    private ValueTask<bool> WriteAsync(long bytes, Func<SqliteConnection, bool> write) =>
        _database is { WriteFailure: null } database ? database.WriteAsync(bytes, write) : WriteWhenOpenAsync(bytes, write);

    private async ValueTask<bool> WriteWhenOpenAsync(long bytes, Func<SqliteConnection, bool> write)
    {
        if (_database is not null) await TryOpenAsync(BetweenAttempts, CancellationToken.None);
        return await (await OpenedAsync(CancellationToken.None)).WriteAsync(bytes, write);
    }

    private async ValueTask<T> ReadAsync<T>(Func<SqliteConnection, T> read, CancellationToken cancellationToken)
    {
        while (true)
        {
            var database = _database ?? await OpenedAsync(cancellationToken);
            try
            {
                return await database.ReadAsync(read, cancellationToken);
            }
            catch (ObjectDisposedException) when (_isClosed)
            {
                throw new StorageUnavailableException(Closed, null);
            }
            catch (ObjectDisposedException) when (database.WriteFailure is not null)
            {
                // It is being opened to be written.
                await TryOpenAsync(BetweenAttempts, cancellationToken);
            }
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

    // A row that somebody has written a text into, or nothing, is damaged as one with other bytes is.
    private static byte[] Blob(SqliteDataReader reader, int column) => reader.IsDBNull(column) ? [] : reader.GetFieldValue<byte[]>(column);

    private static long Withheld(SqliteDataReader reader, int column, long most) =>
        !reader.IsDBNull(column) && reader.GetInt64(column) is var length && length > most ? length : 0;

    private static DateTimeOffset Time(long ticks) => StoredHeader.Time(ticks);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}; until it can, everything that needs it is answered with 503")]
    private static partial void LogUnavailable(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}; until it can, it is read, and what must be stored is answered with 503")]
    private static partial void LogReadOnly(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Others than the owner could read or write {Paths}; now the owner alone can")]
    private static partial void LogTightened(ILogger logger, string paths);

    [LoggerMessage(Level = LogLevel.Information, Message = "Storage:Path '{Path}' can be written again")]
    private static partial void LogAvailable(ILogger logger, string path);
}
