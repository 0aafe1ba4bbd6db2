using BnService.Api.Hosting;
using Microsoft.Extensions.Options;
using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// Keeps sessions in a database that several nodes share: PostgreSQL, or another one that speaks its language (Citus, CockroachDB,
/// YugabyteDB), for only what they all know is asked of it.
/// </summary>
internal sealed partial class PostgresSessionStore : ISessionStore, IContributions, IAsyncDisposable
{
    private static readonly SqlText Newest = new("""ORDER BY s.created_at DESC, s.id COLLATE "C" DESC""");
    private static readonly SqlText HeaderColumns = new("s.id, s.name, s.kind, s.version, s.created_at, s.header");

    private readonly PostgresDatabase _database;
    private readonly PostgresNotifications _notifications;
    private readonly PostgresWriter _writer;
    private readonly bool _isRelaxed;
    private readonly ILogger _logger;

    /// <exception cref="StorageUnusableException">The connection string cannot be read.</exception>
    public PostgresSessionStore(IOptions<StorageOptions> options, ILogger<PostgresSessionStore> logger, TimeProvider time)
    {
        (_logger, _isRelaxed) = (logger, options.Value.Durability == "interval");
        _database = new PostgresDatabase(options.Value, logger, time);
        _notifications = new PostgresNotifications(_database, options.Value.Notifications, logger, time);
        _writer = new PostgresWriter(_database, time);
    }

    /// <inheritdoc/>
    public bool IsShared => true;

    /// <inheritdoc/>
    public bool IsOpen => true;

    /// <inheritdoc/>
    public event Action<string, long>? Changed
    {
        add => _notifications.Received += value;
        remove => _notifications.Received -= value;
    }

    /// <summary>Waits for the database, and makes its tables where there are none: to be called once, before anything else.</summary>
    /// <exception cref="StorageUnusableException">The database cannot be reached, or is one of a newer service.</exception>
    public Task OpenAsync(CancellationToken cancellationToken) => _database.OpenAsync(async connection =>
    {
        await PostgresSchema.MigrateAsync(connection, cancellationToken);
        _writer.CommitMode = await CommitModeAsync(connection, cancellationToken);
        await _notifications.StartAsync(cancellationToken);
    }, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SessionInsertion(session), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<StoredSession?> FindAsync(string nameOrId, long most, CancellationToken cancellationToken) => FindOneAsync(
        $"""
        SELECT {HeaderColumns}, s.owner, s.writes, {BoundedState(most)} FROM bn_names AS n JOIN bn_sessions AS s ON s.id = n.session_id
        WHERE n.name = {nameOrId}
        """,
        row => new StoredSession(
            row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3), Time(row.GetInt64(4)), Bytes(row, 5), State(row, 8))
        {
            Owner = row.GetString(6) is { Length: > 0 } owner ? owner : null,
            Mark = WriteMark.NumberOf(Bytes(row, 7)),
            Writes = Bytes(row, 7),
            Withheld = row.IsDBNull(8) ? row.GetInt32(9) : 0,
        },
        cancellationToken);

    /// <inheritdoc/>
    public ValueTask<string?> FindNameAsync(string? name, string id, CancellationToken cancellationToken)
    {
        PostgresStatement? named = null;
        if (name is not null) named = $" OR (id = (SELECT session_id FROM bn_names WHERE name = {name}) AND name = {name})";
        return FindOneAsync($"SELECT name FROM bn_sessions WHERE id = {id}{named}", row => row.GetString(0), cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask<StoredVersion?> FindVersionAsync(string id, CancellationToken cancellationToken) =>
        await FindAllAsync(
            $"SELECT version, substr(writes, 1, {SessionUpdate.MarkLength}) FROM bn_sessions WHERE id = {id}",
            row => new StoredVersion(row.GetInt64(0), WriteMark.NumberOf(Bytes(row, 1))), cancellationToken) is [var version] ? version : null;

    /// <inheritdoc/>
    public ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SessionUpdate(session, expected, answers, _notifications), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SessionDeletion(id, expected, _notifications), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken)
    {
        PostgresStatement listed = $"true{Range(query)}{Listed(query)}";
        // What is looked for is looked for in the index alone, without a look at the rows.
        if (query.IsFiltered) listed = $"s.id IN (SELECT s.id FROM bn_sessions AS s WHERE {listed} {Newest} LIMIT {query.Limit})";
        return FindAllAsync(
            $"SELECT {HeaderColumns} FROM bn_sessions AS s WHERE {listed} {Newest} LIMIT {query.Limit}",
            row => new StoredHeader(row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3), Time(row.GetInt64(4)), Bytes(row, 5)),
            cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask<SessionPosition?> FindPositionAsync(SessionPosition? after, int number, CancellationToken cancellationToken) =>
        await FindAllAsync(
            $"SELECT s.created_at, s.id FROM bn_sessions AS s WHERE true{Range(new(null, null, 1, after))} {Newest} LIMIT 1 OFFSET {number - 1}",
            row => new SessionPosition(Time(row.GetInt64(0)), row.GetString(1)), cancellationToken) is [var position] ? position : null;

    /// <inheritdoc/>
    public async ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken)
    {
        PostgresStatement? whose = null;
        if (owner is not null) whose = $" WHERE owner = {owner}";
        return (await FindAllAsync($"SELECT count(*) FROM bn_sessions{whose}", row => row.GetInt64(0), cancellationToken))[0];
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredUsage>> MeasureAsync(CancellationToken cancellationToken) => FindAllAsync(
        // Lengths are known without what is long being read.
        $"""
        SELECT owner, sum(one)::bigint, sum(bytes)::bigint FROM (
            SELECT owner, 1 AS one, octet_length(header) + octet_length(state) AS bytes FROM bn_sessions
            UNION ALL SELECT s.owner, 0, octet_length(p.header) + octet_length(p.state) FROM bn_snapshots AS p JOIN bn_sessions AS s ON s.id = p.session_id
            UNION ALL SELECT s.owner, 0, octet_length(a.content) FROM bn_answers AS a JOIN bn_sessions AS s ON s.id = a.session_id
                WHERE octet_length(a.content) > 4096) AS usage
        GROUP BY owner
        """,
        row => new StoredUsage(row.GetString(0) is { Length: > 0 } owner ? owner : null, row.GetInt64(1), row.GetInt64(2)), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<long> CountListedAsync(SessionQuery query, CancellationToken cancellationToken) =>
        await FindAllAsync($"SELECT count(*) FROM bn_sessions AS s WHERE true{Range(query)}{Listed(query)}", row => row.GetInt64(0), cancellationToken)
            is [var number] ? number : 0;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _writer.DisposeAsync();
        await _notifications.DisposeAsync();
        await _database.DisposeAsync();
    }

    // Prefixes and ids are compared as ordinals are, whatever the collation of the database.
    private static PostgresStatement Listed(SessionQuery query)
    {
        PostgresStatement? prefix = null, kind = null, search = null;
        if (query.Prefix is not null) prefix = $" AND substr(s.name, 1, length({query.Prefix})) = {query.Prefix}";
        if (query.Kind is not null) kind = $" AND s.kind = {query.Kind}";
        if (query.Search is not null) search = $" AND position(lower({query.Search}) IN lower(s.name)) > 0";
        return $"{prefix}{kind}{search}";
    }

    private static PostgresStatement Range(SessionQuery query)
    {
        PostgresStatement? after = null, through = null;
        if (query.After is { CreatedAt.UtcTicks: var at, Id: var id })
            after = $""" AND s.created_at <= {at} AND (s.created_at < {at} OR s.id COLLATE "C" < {id} COLLATE "C")""";
        if (query.Through is { CreatedAt.UtcTicks: var oldest, Id: var last })
            through = $""" AND s.created_at >= {oldest} AND (s.created_at > {oldest} OR s.id COLLATE "C" >= {last} COLLATE "C")""";
        return $"{after}{through}";
    }

    // A server that answers before the disk has it, where it is not told to wait, is told so.
    private async Task<string?> CommitModeAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
            await using var command = new NpgsqlCommand(_isRelaxed ? "SET LOCAL synchronous_commit = off" : "SHOW synchronous_commit", connection);
            var answer = await command.ExecuteScalarAsync(cancellationToken);
            return _isRelaxed ? "off" : answer is "off" ? "on" : null;
        }
        catch (PostgresException exception) when (!PostgresFailure.MayPass(exception))
        {
            if (_isRelaxed) LogDurable(_logger, exception.MessageText);
            return null;
        }
    }

    private async ValueTask<T?> FindOneAsync<T>(PostgresStatement statement, Func<NpgsqlDataReader, T> row, CancellationToken cancellationToken)
        where T : class =>
        await FindAllAsync(statement, row, cancellationToken) is [var found, ..] ? found : null;

    private ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        PostgresStatement statement, Func<NpgsqlDataReader, T> row, CancellationToken cancellationToken) =>
        FindAllAsync([statement], row, cancellationToken);

    // The rows of the only statement that has any. Each statement is a transaction, where all of them are not to be one.
    private async ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        PostgresStatement[] statements, Func<NpgsqlDataReader, T> row, CancellationToken cancellationToken, bool isOneTransaction = false)
    {
        if (!statements.All(statement => statement.IsPossible)) return [];
        return await _database.AskAsync(connection =>
        {
            var batch = new NpgsqlBatch(connection) { EnableErrorBarriers = !isOneTransaction };
            foreach (var statement in statements) batch.BatchCommands.Add(statement.ToCommand());
            return batch;
        }, async reader =>
        {
            var rows = new List<T>();
            while (await reader.ReadAsync()) rows.Add(row(reader));
            return rows;
        }, cancellationToken);
    }

    private static byte[] Bytes(NpgsqlDataReader row, int column) => row.GetFieldValue<byte[]>(column);

    // A length is known without what is long being read.
    private static PostgresStatement BoundedState(long most) => $"CASE WHEN octet_length(state) <= {most} THEN state END, octet_length(state)";

    private static byte[] State(NpgsqlDataReader row, int column) => row.IsDBNull(column) ? [] : Bytes(row, column);

    private static DateTimeOffset Time(long ticks) => StoredHeader.Time(ticks);

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "The database does not know synchronous_commit ({Cause}): Storage:Durability is step")]
    private static partial void LogDurable(ILogger logger, string cause);
}
