using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

// What changes the file. Nobody else writes: what is looked at first holds until the end, and nothing has to be undone.
internal sealed partial class SqliteSessionStore
{
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
    private static readonly SqlText IsOfGroup = new("instr(topic, ' ') > 0");

    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) =>
        WriteAsync(session.Size, connection => Execute(connection, $"""
            INSERT INTO sessions (id, name, kind, version, created_at, header, state, owner)
            SELECT {session.Id}, {session.Name}, {session.Kind}, {session.Version}, {session.CreatedAt.UtcTicks},
                {session.Header}, {session.State}, {session.Owner}
            WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE name IN ({session.Name}, {session.Id}) OR id IN ({session.Name}, {session.Id}))
            """) == 1);

    public ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken) =>
        WriteAsync(session.Size + answers.Sum(answer => (long)answer.Content.Length), connection =>
        {
            if (Ask(connection, $"SELECT version FROM sessions WHERE id = {session.Id}") is not long version
                || version != expected.Number) return false;
            if (answers.Any(answer => IsRemembered(connection, session.Id, answer))) return false;
            if (session.Version != expected.Number)
            {
                Execute(connection,
                    $"UPDATE sessions SET version = {session.Version}, header = {session.Header}, state = {session.State} WHERE id = " +
                        $"{session.Id}");
            }
            foreach (var answer in answers) Remember(connection, session.Id, answer);
            return true;
        });

    public async ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken)
    {
        var isMore = false;
        if (!await WriteAsync(0, connection =>
        {
            if (Execute(connection, $"DELETE FROM sessions WHERE id = {id} AND version = {expected.Number}") == 0) return false;
            Execute(connection, $"DELETE FROM traffic WHERE session_id = {id}");
            isMore = DeleteSomeOf(connection, id);
            return true;
        })) return false;
        if (isMore) await SweepAsync(id);
        return true;
    }

    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken) =>
        WriteAsync(snapshot.Size, connection => Execute(connection, $"""
            INSERT OR IGNORE INTO snapshots (session_id, version, header, state)
            SELECT {snapshot.SessionId}, {snapshot.Version}, {snapshot.Header}, {snapshot.State}
            WHERE EXISTS (SELECT 1 FROM sessions WHERE id = {snapshot.SessionId})
            """) == 1);

    public ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken) =>
        WriteAsync(0, connection =>
            Execute(connection, $"DELETE FROM snapshots WHERE session_id = {sessionId} AND version = {version}") == 1);

    public ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) => TryInsertKeyAsync(key, null);

    public ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken) =>
        TryInsertKeyAsync(key, $"WHERE NOT EXISTS (SELECT 1 FROM keys)");

    public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) =>
        WriteKeyAsync($"UPDATE keys SET salt = {key.Salt}, hash = {key.Hash} WHERE id = {key.Id}");

    public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) =>
        WriteKeyAsync($"DELETE FROM keys WHERE coalesce(id, '') = {id}");

    // One process has the file, so that there is one node, whatever it is called.
    public async ValueTask SaveTrafficAsync(IReadOnlyList<StoredTraffic> traffic, CancellationToken cancellationToken) =>
        await WriteAsync(0, connection =>
    {
        foreach (var (id, _, content) in traffic)
        {
            Execute(connection, $"""
                INSERT OR REPLACE INTO traffic (session_id, content)
                SELECT {id}, {content} WHERE EXISTS (SELECT 1 FROM sessions WHERE id = {id})
                """);
        }
        return true;
    });

    private ValueTask<bool> TryInsertKeyAsync(StoredKey key, SqlStatement? where) => WriteKeyAsync($"""
        INSERT OR IGNORE INTO keys (id, name, role, prefix, created_at, salt, hash)
        SELECT {key.Id}, {key.Name}, {key.Role}, {key.Prefix}, {key.CreatedAt.UtcTicks}, {key.Salt}, {key.Hash} {where}
        """);

    // Keys do not stay in the log alone: without it, a file that had keys would be one that has none, and opens to everybody.
    private async ValueTask<bool> WriteKeyAsync(SqlStatement statement)
    {
        if (!await WriteAsync(0, connection => Execute(connection, statement) > 0)) return false;
        try
        {
            await ReadAsync(connection => Execute(connection, $"PRAGMA wal_checkpoint(FULL)"), CancellationToken.None);
        }
        catch (StorageUnavailableException)
        {
            // It is stored all the same, and comes into the file later.
        }
        return true;
    }

    // What a session has left behind may be gigabytes, which nobody has to wait for at once: each piece is written as a large state is.
    // Without an id it is that of all whose deletion was not brought to its end: ids are not used again, so that nobody would ever look at
    // it.
    private async Task SweepAsync(string? gone)
    {
        try
        {
            IReadOnlyList<string> all = gone is not null ? [gone]
                : await FindAllAsync($"{new SqlText(Orphans)}", row => row.GetString(0), CancellationToken.None);
            foreach (var id in all)
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
    private static bool DeleteSomeOf(SqliteConnection connection, string id)
    {
        var snapshots = Execute(connection,
            $"DELETE FROM snapshots WHERE rowid IN (SELECT rowid FROM snapshots WHERE session_id = {id} LIMIT {MostSnapshots})");
        var answers = Execute(connection, $"""
            DELETE FROM answers WHERE session_id = {id}
                AND (topic, sequence) IN (SELECT topic, sequence FROM answers WHERE session_id = {id} LIMIT {StoredAnswer.Kept})
            """);
        return snapshots == MostSnapshots || answers == StoredAnswer.Kept;
    }

    private static bool IsRemembered(SqliteConnection connection, string id, StoredAnswer answer) =>
        Ask(connection, $"SELECT 1 FROM answers WHERE session_id = {id} AND topic = {answer.Topic} AND key = {answer.Key}") is not null;

    private static void Remember(SqliteConnection connection, string id, StoredAnswer answer)
    {
        SqlStatement others = $"session_id = {id} AND topic = {answer.Topic}";
        if (answer.IsOfGroup) others = $"session_id = {id} AND {IsOfGroup}";
        var sequence = (long)Ask(connection, $"""
            INSERT INTO answers (session_id, topic, sequence, key, content)
            SELECT {id}, {answer.Topic}, coalesce(max(sequence), 0) + 1, {answer.Key}, {answer.Content} FROM answers WHERE {others}
            RETURNING sequence
            """)!;
        if (!answer.IsOfGroup) Execute(connection, $"DELETE FROM answers WHERE {others} AND sequence <= {sequence - StoredAnswer.Kept}");
        else if (sequence % StoredAnswer.Slack == 0)
        {
            // By their number, for before this order each group had one of its own: many answers may have the same place.
            Execute(connection, $"""
                DELETE FROM answers WHERE {others}
                    AND sequence <= (SELECT sequence FROM answers WHERE {others}
                        ORDER BY sequence DESC LIMIT 1 OFFSET {StoredAnswer.KeptOfGroups})
                """);
        }
    }
}
