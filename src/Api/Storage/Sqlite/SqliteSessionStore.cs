using System.Data.Common;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Options;

namespace BnService.Api.Storage.Sqlite;

/// <summary>Keeps sessions in one file: what a call has answered is on the disk.</summary>
internal sealed partial class SqliteSessionStore : SqlSessionStore, ISessionStore, IKeyStore, ITrafficStore, IAsyncDisposable
{
    private static readonly SqlDialect Sql = new(
        Bn: new(""), C: new(""), Find: new("instr"), Length: new("length"), Writes: new("NULL"),
            LargeAnswers: new("INDEXED BY answers_large"));

    internal const string Closed = "the store has been closed: the service is stopping";

    private static readonly TimeSpan BetweenAttempts = TimeSpan.FromSeconds(1);

    private readonly StorageOptions _options;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _opening = new(1);
    private readonly Task _sweeping = Task.CompletedTask;
    private volatile SqliteDatabase? _database;
    private StorageUnavailableException? _failure;
    private long _failedAt;
    private volatile bool _isClosed;

    public bool IsShared => false;

    public event Action<string, long>? Changed { add { } remove { } }

    /// <summary>
    /// Opens the file. Where it cannot be written now, as on a full or read-only disk, it is read, and that it can is tried again when
    /// something is to be stored.
    /// </summary>
    /// <exception cref="StorageUnusableException">The file cannot be used at all.</exception>
    public SqliteSessionStore(IOptions<StorageOptions> options, ILogger<SqliteSessionStore> logger, TimeProvider time)
        : base(Sql)
    {
        (_options, _logger, _time) = (options.Value, logger, time);
        Open();
        if (_database is null) LogUnavailable(logger, _failure!.Message);
        else if (_failure is not null) LogReadOnly(logger, _failure.Message);
        else _sweeping = Task.Run(() => SweepAsync(null));
    }

    public bool IsOpen
    {
        get
        {
            if (_database is null) _ = TryOpenAsync(TimeSpan.Zero, CancellationToken.None);
            return _database is not null;
        }
    }

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

    protected override ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        SqlStatement statement, Func<DbDataReader, T> row, CancellationToken cancellationToken) => ReadAsync(connection =>
        {
            using var command = Command(connection, statement);
            using var reader = command.ExecuteReader();
            var rows = new List<T>();
            while (reader.Read()) rows.Add(row(reader));
            return (IReadOnlyList<T>)rows;
        }, cancellationToken);

    protected override SqlStatement Named(string nameOrId) =>
        $"sessions AS s WHERE s.name = {nameOrId} OR s.id = {nameOrId} ORDER BY s.name = {nameOrId} DESC LIMIT 1";

    protected override SqlStatement OrNamed(string name) => $" OR s.name = {name}";

    protected override SqlStatement Among(IReadOnlyCollection<string> texts) =>
        $"IN (SELECT value FROM json_each({JsonSerializer.Serialize(texts)}))";

    private static object? Ask(SqliteConnection connection, SqlStatement statement)
    {
        using var command = Command(connection, statement);
        return command.ExecuteScalar();
    }

    private static int Execute(SqliteConnection connection, SqlStatement statement)
    {
        using var command = Command(connection, statement);
        return command.ExecuteNonQuery();
    }

    private static SqliteCommand Command(SqliteConnection connection, SqlStatement statement)
    {
        var (command, number) = (connection.CreateCommand(), 0);
        command.CommandText = statement.Write(value => command.Parameters.AddWithValue($"${++number}", value switch
        {
            null => DBNull.Value,
            ReadOnlyMemory<byte> bytes => Bytes(bytes),
            _ => value,
        }));
        return command;
    }

    private static byte[] Bytes(ReadOnlyMemory<byte> bytes) =>
        MemoryMarshal.TryGetArray(bytes, out var segment) && segment.Offset == 0 && segment.Array!.Length == segment.Count
            ? segment.Array
            : bytes.ToArray();

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}; until it can, everything that needs it is answered with 503")]
    private static partial void LogUnavailable(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}; until it can, it is read, and what must be stored is answered with 503")]
    private static partial void LogReadOnly(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Others than the owner could read or write {Paths}; now the owner alone can")]
    private static partial void LogTightened(ILogger logger, string paths);

    [LoggerMessage(Level = LogLevel.Information, Message = "Storage:Path '{Path}' can be written again")]
    private static partial void LogAvailable(ILogger logger, string path);
}
