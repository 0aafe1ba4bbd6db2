using System.Data.Common;
using Microsoft.Extensions.Options;
using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// Keeps sessions in a database that several nodes share: PostgreSQL, or another one that speaks its language (Citus, CockroachDB,
/// YugabyteDB), for only what they all know is asked of it.
/// </summary>
internal sealed partial class PostgresSessionStore : SqlSessionStore, ISessionStore, IContributions, IKeyStore, ITrafficStore,
    IAsyncDisposable
{
    private static readonly SqlDialect Sql = new(
        Bn: new("bn_"), C: new(" COLLATE \"C\""), Find: new("strpos"), Length: new("octet_length"), Writes: new("s.writes"),
            LargeAnswers: new(""));

    private readonly PostgresDatabase _database;
    private readonly PostgresNotifications _notifications;
    private readonly PostgresWriter _writer;
    private readonly bool _isRelaxed;
    private readonly ILogger _logger;

    /// <exception cref="StorageUnusableException">The connection string cannot be read.</exception>
    public PostgresSessionStore(IOptions<StorageOptions> options, ILogger<PostgresSessionStore> logger, TimeProvider time)
        : base(Sql)
    {
        (_logger, _isRelaxed) = (logger, options.Value.Durability == "interval");
        _database = new PostgresDatabase(options.Value, logger, time);
        _notifications = new PostgresNotifications(_database, options.Value.Notifications, logger, time);
        _writer = new PostgresWriter(_database, time);
    }

    public bool IsShared => true;

    public bool IsOpen => true;

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

    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SessionInsertion(session), cancellationToken);

    public ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SessionUpdate(session, expected, answers, _notifications), cancellationToken);

    public ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SessionDeletion(id, expected, _notifications), cancellationToken);

    public ValueTask<bool> TryForgetAnswerAsync(
        string sessionId, string topic, string key, StoredVersion expected, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new AnswerDeletion(sessionId, topic, key, expected), cancellationToken);

    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SnapshotInsertion(snapshot), cancellationToken);

    public ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SnapshotDeletion(sessionId, version), cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _writer.DisposeAsync();
        await _notifications.DisposeAsync();
        await _database.DisposeAsync();
    }

    // A server that answers before the disk has it, where it is not told to wait, is told so.
    private async Task<string?> CommitModeAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
            await using var command = new NpgsqlCommand(_isRelaxed ? "SET LOCAL synchronous_commit = off"
                : "SHOW synchronous_commit", connection);
            var answer = await command.ExecuteScalarAsync(cancellationToken);
            return _isRelaxed ? "off" : answer is "off" ? "on" : null;
        }
        catch (PostgresException exception) when (!PostgresFailure.MayPass(exception))
        {
            if (_isRelaxed) LogDurable(_logger, exception.MessageText);
            return null;
        }
    }

    protected override ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        SqlStatement statement, Func<DbDataReader, T> row, CancellationToken cancellationToken) =>
            FindAllAsync([statement], row, cancellationToken);

    protected override SqlStatement Named(string nameOrId) =>
        $"bn_names AS n JOIN bn_sessions AS s ON s.id = n.session_id WHERE n.name = {nameOrId}";

    protected override SqlStatement OrNamed(string name) =>
        $" OR (s.id = (SELECT session_id FROM bn_names WHERE name = {name}) AND s.name = {name})";

    protected override SqlStatement Among(IReadOnlyCollection<string> texts) => $"= ANY({texts.ToArray()})";

    // The rows of the only statement that has any. Each statement is a transaction, where all of them are not to be one.
    private async ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        SqlStatement[] statements, Func<DbDataReader, T> row, CancellationToken cancellationToken, bool isOneTransaction = false)
    {
        if (!statements.All(statement => statement.IsPossible)) return [];
        return await _database.AskAsync(connection =>
        {
            var batch = new NpgsqlBatch(connection) { EnableErrorBarriers = !isOneTransaction };
            foreach (var statement in statements) batch.BatchCommands.Add(PostgresWrite.Command(statement));
            return batch;
        }, async reader =>
        {
            var rows = new List<T>();
            while (await reader.ReadAsync()) rows.Add(row(reader));
            return rows;
        }, cancellationToken);
    }

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "The database does not know synchronous_commit ({Cause}): Storage:Durability is step")]
    private static partial void LogDurable(ILogger logger, string cause);
}
