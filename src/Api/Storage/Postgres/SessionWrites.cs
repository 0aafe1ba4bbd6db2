namespace BnService.Api.Storage.Postgres;

/// <summary>Stores a new session, unless its name or id is taken.</summary>
internal sealed class SessionInsertion(StoredSession session) : PostgresWrite(session.Id)
{
    private readonly WriteMark _mark = session.Mark == 0 ? WriteMark.New(session.Version) : new(session.Version, session.Mark);

    public override long Size => session.Header.Length + session.State.Length;

    public override IEnumerable<SqlStatement> Statements(bool isAgain)
    {
        var (id, name, mark) = (session.Id, session.Name, _mark.Bytes);
        SqlStatement taken = $"(SELECT count(*) FROM bn_names WHERE name IN ({id}, {name}) AND write = {mark})";
        long wanted = id == name ? 1 : 2;
        // Where nothing but the rows of sessions was restored, the names of those that are gone are left, and would be taken for ever.
        yield return $"""
            DELETE FROM bn_names AS n WHERE n.name IN ({id}, {name})
                AND NOT EXISTS (SELECT 1 FROM bn_sessions AS s WHERE s.id = n.session_id)
            """;
        // In one order, so that two that take each other's do not wait for each other.
        var (first, second) = string.CompareOrdinal(id, name) < 0 ? (id, name) : (name, id);
        yield return $"""
            INSERT INTO bn_names (name, session_id, write) VALUES ({first}, {id}, {mark}), ({second}, {id}, {mark}) ON CONFLICT DO NOTHING
            """;
        yield return $"""
            INSERT INTO bn_sessions (id, name, kind, version, created_at, header, state, writes, owner)
            SELECT {id}, {name}, {session.Kind}, {session.Version}, {session.CreatedAt.UtcTicks},
                {session.Header}, {session.State}, {mark}, {session.Owner ?? ""}
            WHERE {taken} = {wanted} ON CONFLICT DO NOTHING
            """;
        yield return $"DELETE FROM bn_names WHERE name IN ({id}, {name}) AND write = {mark} AND {taken} < {wanted}";
        yield return $"SELECT 1 FROM bn_names WHERE name = {id} AND write = {mark}";
    }

    public override async ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain) => await rows.AnyAsync();
}

/// <summary>
/// Replaces a session's state and remembers answers, if the state is the expected one and no answer is there. The mark of the write that
/// has made the state is the first of the session's: those of writes that only remember answers come behind it.
/// </summary>
internal sealed class SessionUpdate(
    StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, PostgresNotifications notifications)
    : PostgresWrite(session.Id)
{
    /// <summary>Bytes of a mark, in a statement.</summary>
    public static readonly SqlText MarkLength = new($"{WriteMark.Length}");

    private static readonly SqlText MarksKept = new($"{WriteMark.Kept}"), Second = new($"{WriteMark.Length + 1}");

    // As the index says it.
    private static readonly SqlText IsOfGroup = new("strpos(topic, ' ') > 0");

    private readonly WriteMark _mark = session.Mark == 0 || session.Version == expected.Number
        ? WriteMark.New(session.Version)
        : new(session.Version, session.Mark);

    private bool ChangesState => session.Version != expected.Number;

    public override long Size => (ChangesState ? session.Header.Length + session.State.Length : 0) + answers.Sum(
        answer => (long)answer.Content.Length);

    public override IEnumerable<SqlStatement> Statements(bool isAgain)
    {
        // The row is taken by a statement of its own: the ones after it see the answers of whoever had it before.
        if (Locks(isAgain)) yield return Lock();
        yield return Update();
        foreach (var answer in answers)
        {
            SqlStatement others = $"topic = {answer.Topic}";
            if (answer.IsOfGroup) others = $"{IsOfGroup}";
            yield return $"""
                INSERT INTO bn_answers (session_id, topic, sequence, key, content)
                SELECT {SessionId}, {answer.Topic},
                    1 + coalesce((SELECT max(sequence) FROM bn_answers WHERE session_id = {SessionId} AND {others}), 0),
                    {answer.Key}, {answer.Content}
                WHERE EXISTS (SELECT 1 FROM bn_sessions WHERE id = {SessionId}
                    AND {_mark.Bytes} IN (substr(writes, 1, {MarkLength}), substr(writes, {Second}, {MarkLength})))
                ON CONFLICT DO NOTHING
                """;
        }
        if (answers.Count(answer => answer.IsOfGroup) is var ofGroups and > 0) yield return ForgetOfGroups(ofGroups);
        foreach (var topic in answers.Where(answer => !answer.IsOfGroup).Select(answer => answer.Topic).Distinct())
        {
            yield return $"""
                DELETE FROM bn_answers WHERE session_id = {SessionId} AND topic = {topic} AND sequence <=
                    (SELECT max(sequence) - {StoredAnswer.Kept} FROM bn_answers WHERE session_id = {SessionId} AND topic = {topic})
                """;
        }
    }

    public override async ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain)
    {
        var writes = Locks(isAgain) ? await rows.BytesAsync() : null;
        if (await rows.AnyAsync()) return true;
        // A session that is gone has no change of it to be made again.
        return isAgain && writes is not null ? _mark.IsAmong(writes, expected.Number) : false;
    }

    // By their number, for before this order each group had one of its own: many answers may have the same place.
    private SqlStatement ForgetOfGroups(int added) => $"""
        DELETE FROM bn_answers WHERE session_id = {SessionId} AND {IsOfGroup}
            AND (SELECT max(sequence) FROM bn_answers WHERE session_id = {SessionId} AND {IsOfGroup}) % {StoredAnswer.Slack} < {added}
            AND sequence <= (SELECT sequence FROM bn_answers WHERE session_id = {SessionId} AND {IsOfGroup}
                ORDER BY sequence DESC LIMIT 1 OFFSET {StoredAnswer.KeptOfGroups})
        """;

    private bool Locks(bool isAgain) => isAgain || answers.Count > 0;

    private SqlStatement Update()
    {
        SqlStatement? change = null, condition = null;
        SqlStatement writes = $"{_mark.Bytes} || writes";
        if (ChangesState) change = $", version = {session.Version}, header = {session.Header}, state = {session.State}";
        else writes = $"substr(writes, 1, {MarkLength}) || {_mark.Bytes} || substr(writes, {Second})";
        foreach (var answer in answers)
        {
            condition = $"""
                {condition} AND NOT EXISTS
                (SELECT 1 FROM bn_answers WHERE session_id = {SessionId} AND topic = {answer.Topic} AND key = {answer.Key})
                """;
        }
        SqlStatement update = $"""
            UPDATE bn_sessions SET writes = substr({writes}, 1, {MarksKept}){change}
            WHERE id = {SessionId} AND {Is(expected)}{condition} RETURNING 1
            """;
        if (!ChangesState) return update;
        return $"WITH made AS ({update}) SELECT {notifications.Notice(SessionId, session.Version)} FROM made";
    }
}

/// <summary>Deletes a remembered answer, if the session's state is the expected one.</summary>
internal sealed class AnswerDeletion(string sessionId, string topic, string key, StoredVersion expected) : PostgresWrite(sessionId)
{
    public override IEnumerable<SqlStatement> Statements(bool isAgain)
    {
        // The row is taken, so that nobody makes the step anew meanwhile and has that answer deleted.
        yield return $"SELECT 1 FROM bn_sessions WHERE id = {SessionId} AND {Is(expected)} FOR UPDATE";
        yield return $"""
            DELETE FROM bn_answers WHERE session_id = {SessionId} AND topic = {topic} AND key = {key}
                AND EXISTS (SELECT 1 FROM bn_sessions WHERE id = {SessionId} AND {Is(expected)})
            """;
    }

    public override async ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain) => await rows.AnyAsync();
}

/// <summary>Deletes a session in a state with all that belongs to it.</summary>
internal sealed class SessionDeletion(string id, StoredVersion expected, PostgresNotifications notifications) : PostgresWrite(id)
{
    private static readonly SqlText[] Belongings = [new("bn_answers"), new("bn_snapshots"), new("bn_contributions"), new("bn_traffic")];

    public override IEnumerable<SqlStatement> Statements(bool isAgain)
    {
        if (isAgain) yield return Lock();
        yield return $"""
            WITH gone AS (DELETE FROM bn_sessions WHERE id = {SessionId} AND {Is(expected)} RETURNING id, name),
                freed AS (DELETE FROM bn_names WHERE name IN (SELECT id FROM gone UNION ALL SELECT name FROM gone))
            SELECT {notifications.Notice(SessionId, 0)} FROM gone
            """;
        foreach (var table in Belongings)
            yield return $"DELETE FROM {table} WHERE session_id = {SessionId} AND NOT EXISTS (SELECT 1 FROM bn_sessions WHERE id = " +
                $"{SessionId})";
    }

    public override async ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain)
    {
        // Who has deleted it leaves no mark; it is gone, as it should be.
        var wasGone = isAgain && await rows.BytesAsync() is null;
        return await rows.AnyAsync() || wasGone;
    }
}

/// <summary>Stores a snapshot, unless the session is gone or has one of the version.</summary>
internal sealed class SnapshotInsertion(StoredSnapshot snapshot) : PostgresWrite(snapshot.SessionId)
{
    private readonly WriteMark _mark = WriteMark.New(snapshot.Version);

    public override long Size => snapshot.Header.Length + snapshot.State.Length;

    public override IEnumerable<SqlStatement> Statements(bool isAgain)
    {
        // The row is taken, so that the session is not deleted meanwhile.
        yield return Lock();
        yield return $"""
            INSERT INTO bn_snapshots (session_id, version, header, state, write)
            SELECT {SessionId}, {snapshot.Version}, {snapshot.Header}, {snapshot.State}, {_mark.Bytes}
            WHERE EXISTS (SELECT 1 FROM bn_sessions WHERE id = {SessionId}) ON CONFLICT DO NOTHING
            """;
        yield return $"SELECT 1 FROM bn_snapshots WHERE session_id = {SessionId} AND version = {snapshot.Version} AND write = " +
            $"{_mark.Bytes}";
    }

    public override async ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain)
    {
        await rows.AnyAsync();
        return await rows.AnyAsync();
    }
}

/// <summary>Deletes a snapshot.</summary>
internal sealed class SnapshotDeletion(string sessionId, long version) : PostgresWrite(sessionId)
{
    public override IEnumerable<SqlStatement> Statements(bool isAgain)
    {
        yield return $"DELETE FROM bn_snapshots WHERE session_id = {SessionId} AND version = {version} RETURNING 1";
    }

    public override async ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain) =>
        // As with a session: if it is gone when this is done again, that is what was wanted.
        await rows.AnyAsync() || isAgain;
}
