using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

// What belongs to sessions: remembered answers and snapshots.
internal sealed partial class SqliteSessionStore
{
    private readonly Task _sweeping = Task.CompletedTask;

    // Of a session that is deleted, so many go in one transaction: each may have all the bytes of a largest state.
    private const int MostSnapshots = 1;

    // From one id to the next, so that what lies between them is not read.
    private const string Orphans = """
        WITH RECURSIVE
            answered (id) AS (SELECT min(session_id) FROM answers
                UNION ALL SELECT (SELECT min(session_id) FROM answers WHERE session_id > id) FROM answered WHERE id IS NOT NULL),
            frozen (id) AS (SELECT min(session_id) FROM snapshots
                UNION ALL SELECT (SELECT min(session_id) FROM snapshots WHERE session_id > id) FROM frozen WHERE id IS NOT NULL)
        SELECT id FROM (SELECT id FROM answered UNION SELECT id FROM frozen) AS kept
        WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = kept.id)
        """;

    // As the index says it.
    private const string OfGroups = "session_id = $id AND instr(topic, ' ') > 0";

    /// <inheritdoc/>
    public ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken) => FindOneAsync(
        "SELECT topic, key, content FROM answers WHERE session_id = $id AND topic = $topic AND key = $key",
        Answer, cancellationToken, ("$id", sessionId), ("$topic", topic), ("$key", key));

    /// <inheritdoc/>
    public ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken) => FindOneAsync(
        "SELECT topic, key, content FROM answers WHERE session_id = $id AND topic = $topic ORDER BY sequence DESC LIMIT 1",
        Answer, cancellationToken, ("$id", sessionId), ("$topic", topic));

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken) =>
        WriteAsync(snapshot.Size, connection => Execute(connection, """
        INSERT OR IGNORE INTO snapshots (session_id, version, header, state) SELECT $id, $version, $header, $state
        WHERE EXISTS (SELECT 1 FROM sessions WHERE id = $id)
        """,
        ("$id", snapshot.SessionId), ("$version", snapshot.Version), ("$header", Bytes(snapshot.Header)), ("$state", Bytes(snapshot.State))) == 1);

    /// <inheritdoc/>
    public ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, long most, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT version, header, {BoundedState} FROM snapshots WHERE session_id = $id AND version = $version",
        reader => new StoredSnapshot(sessionId, reader.GetInt64(0), Blob(reader, 1), Blob(reader, 2)) { Withheld = Withheld(reader, 3, most) },
        cancellationToken, ("$id", sessionId), ("$version", version), ("$most", most));

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken) => FindAllAsync(
        "SELECT version, header FROM snapshots WHERE session_id = $id ORDER BY version DESC",
        reader => new StoredSnapshot(sessionId, reader.GetInt64(0), Blob(reader, 1), default),
        cancellationToken, ("$id", sessionId));

    /// <inheritdoc/>
    public async ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken)
    {
        var found = await FindAllAsync(
            "SELECT session_id, version FROM snapshots WHERE session_id IN (SELECT value FROM json_each($ids)) ORDER BY session_id, version DESC",
            reader => Tuple.Create(reader.GetString(0), reader.GetInt64(1)),
            cancellationToken, ("$ids", System.Text.Json.JsonSerializer.Serialize(sessionIds)));
        return found.ToLookup(row => row.Item1, row => row.Item2);
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken) => WriteAsync(connection =>
        Execute(connection, "DELETE FROM snapshots WHERE session_id = $id AND version = $version", ("$id", sessionId), ("$version", version)) == 1);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredUsage>> MeasureAsync(CancellationToken cancellationToken) => FindAllAsync(
        // Lengths stand in the rows themselves: what is long is not read for that.
        $"""
        SELECT owner, sum(one), sum(bytes) FROM (
            SELECT owner, 1 AS one, length(header) + length(state) AS bytes FROM sessions
            UNION ALL SELECT s.owner, 0, length(p.header) + length(p.state) FROM snapshots AS p JOIN sessions AS s ON s.id = p.session_id
            UNION ALL SELECT s.owner, 0, length(a.content) FROM answers AS a INDEXED BY answers_large JOIN sessions AS s ON s.id = a.session_id
                WHERE length(a.content) > {StoredAnswer.LargeBytes})
        GROUP BY owner
        """,
        reader => new StoredUsage(reader.IsDBNull(0) ? null : reader.GetString(0), reader.GetInt64(1), reader.GetInt64(2)), cancellationToken);

    // What a session has left behind may be gigabytes, which nobody has to wait for at once: each piece is written as a large state is. Without
    // an id it is that of all whose deletion was not brought to its end: ids are not used again, so that nobody would ever look at it.
    private async Task SweepAsync(string? gone)
    {
        try
        {
            foreach (var id in gone is null ? await FindAllAsync(Orphans, reader => reader.GetString(0), CancellationToken.None) : [gone])
            {
                while (await WriteAsync(SqliteWriter.LargeBytes, connection => DeleteSomeOf(connection, id)))
                {
                }
            }
        }
        catch (StorageUnavailableException)
        {
            // The service is stopping, or the disk is full: the next start sweeps it away.
        }
    }

    // Whether there may be more.
    private static bool DeleteSomeOf(SqliteConnection connection, string sessionId)
    {
        var snapshots = Execute(connection,
            "DELETE FROM snapshots WHERE rowid IN (SELECT rowid FROM snapshots WHERE session_id = $id LIMIT $most)", ("$id", sessionId), ("$most", MostSnapshots));
        var answers = Execute(connection, """
            DELETE FROM answers WHERE session_id = $id
                AND (topic, sequence) IN (SELECT topic, sequence FROM answers WHERE session_id = $id LIMIT $most)
            """, ("$id", sessionId), ("$most", StoredAnswer.Kept));
        return snapshots == MostSnapshots || answers == StoredAnswer.Kept;
    }

    private static bool IsRemembered(SqliteConnection connection, string sessionId, StoredAnswer answer)
    {
        using var command = Command(connection, "SELECT 1 FROM answers WHERE session_id = $id AND topic = $topic AND key = $key",
            ("$id", sessionId), ("$topic", answer.Topic), ("$key", answer.Key));
        return command.ExecuteScalar() is not null;
    }

    private static void Remember(SqliteConnection connection, string sessionId, StoredAnswer answer)
    {
        if (answer.IsOfGroup) RememberOfGroup(connection, sessionId, answer);
        else
        {
            Execute(connection, """
                INSERT INTO answers (session_id, topic, sequence, key, content)
                SELECT $id, $topic, coalesce(max(sequence), 0) + 1, $key, $content FROM answers WHERE session_id = $id AND topic = $topic;
                DELETE FROM answers WHERE session_id = $id AND topic = $topic
                    AND sequence <= (SELECT max(sequence) - $kept FROM answers WHERE session_id = $id AND topic = $topic)
                """,
                ("$id", sessionId), ("$topic", answer.Topic), ("$key", answer.Key), ("$content", Bytes(answer.Content)), ("$kept", StoredAnswer.Kept));
        }
    }

    private static void RememberOfGroup(SqliteConnection connection, string sessionId, StoredAnswer answer)
    {
        using var insertion = Command(connection, $"""
            INSERT INTO answers (session_id, topic, sequence, key, content)
            SELECT $id, $topic, coalesce(max(sequence), 0) + 1, $key, $content FROM answers WHERE {OfGroups}
            RETURNING sequence
            """,
            ("$id", sessionId), ("$topic", answer.Topic), ("$key", answer.Key), ("$content", Bytes(answer.Content)));
        if ((long)insertion.ExecuteScalar()! % StoredAnswer.Slack != 0) return;
        // By their number, for before this order each group had one of its own: many answers may have the same place.
        Execute(connection, $"""
            DELETE FROM answers WHERE {OfGroups}
                AND sequence <= (SELECT sequence FROM answers WHERE {OfGroups} ORDER BY sequence DESC LIMIT 1 OFFSET $kept)
            """,
            ("$id", sessionId), ("$kept", StoredAnswer.KeptOfGroups));
    }

    private static StoredAnswer Answer(SqliteDataReader reader) => new(reader.GetString(0), reader.GetString(1), Blob(reader, 2));
}
