using System.Buffers;
using System.Data.Common;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace BnService.Api.Storage;

/// <summary>The words in which the engines' SQL differs.</summary>
/// <param name="Bn">What the names of tables begin with.</param>
/// <param name="C">Compares texts as ordinals are compared.</param>
/// <param name="Find">The function that finds a text within another one.</param>
/// <param name="Length">The function that tells the length of bytes, without reading them.</param>
/// <param name="Writes">The column of a session's marks; null where the store keeps none.</param>
/// <param name="LargeAnswers">What makes the engine use the index of large answers.</param>
internal sealed record SqlDialect(SqlText Bn, SqlText C, SqlText Find, SqlText Length, SqlText Writes, SqlText LargeAnswers);

/// <summary>What is asked of sessions and of what belongs to them, in the SQL that all engines know.</summary>
internal abstract class SqlSessionStore(SqlDialect sql)
{
    private static readonly SqlText HeaderColumns = new("s.id, s.name, s.kind, s.version, s.created_at, s.header");
    private static readonly SqlText MarkLength = new($"{WriteMark.Length}"), LargeBytes = new($"{StoredAnswer.LargeBytes}");

    private SqlText Newest { get; } = new($"ORDER BY s.created_at DESC, s.id{sql.C.Text} DESC");

    public ValueTask<StoredSession?> FindAsync(string nameOrId, long most, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT {HeaderColumns}, s.owner, {sql.Writes}, {BoundedState(most)} FROM {Named(nameOrId)}",
        row => new StoredSession(
            row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3), StoredHeader.Time(row.GetInt64(4)), Bytes(row, 5),
                Bytes(row, 8))
        {
            Owner = Text(row, 6),
            Mark = WriteMark.NumberOf(Bytes(row, 7)),
            Writes = Bytes(row, 7),
            Withheld = Withheld(row, 9, most),
        },
        cancellationToken);

    public ValueTask<string?> FindNameAsync(string? name, string id, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT s.name FROM {sql.Bn}sessions AS s WHERE s.id = {id}{(name is null ? null : OrNamed(name))}", row =>
            row.GetString(0), cancellationToken);

    public async ValueTask<StoredVersion?> FindVersionAsync(string id, CancellationToken cancellationToken) => await FindAllAsync(
        $"SELECT s.version, substr({sql.Writes}, 1, {MarkLength}) FROM {sql.Bn}sessions AS s WHERE s.id = {id}",
        row => new StoredVersion(row.GetInt64(0), WriteMark.NumberOf(Bytes(row, 1))), cancellationToken) is [var version] ? version : null;

    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken)
    {
        var listed = Listed(query);
        // What is looked for is looked for in the index alone, without a look at the rows.
        if (query.IsFiltered) listed = $"s.id IN (SELECT s.id FROM {sql.Bn}sessions AS s WHERE {listed} {Newest} LIMIT {query.Limit})";
        return FindAllAsync(
            $"SELECT {HeaderColumns} FROM {sql.Bn}sessions AS s WHERE {listed} {Newest} LIMIT {query.Limit}",
            row => new StoredHeader(
                row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3), StoredHeader.Time(row.GetInt64(4)), Bytes(row, 5)),
            cancellationToken);
    }

    public ValueTask<long> CountListedAsync(SessionQuery query, CancellationToken cancellationToken) =>
        CountAsync($"SELECT count(*) FROM {sql.Bn}sessions AS s WHERE {Listed(query)}", cancellationToken);

    public async ValueTask<SessionPosition?> FindPositionAsync(SessionPosition? after, int number, CancellationToken cancellationToken) =>
        await FindAllAsync(
            $"SELECT s.created_at, s.id FROM {sql.Bn}sessions AS s WHERE {Listed(new(null, null, 1, after))} {Newest} LIMIT 1 OFFSET " +
                $"{number - 1}",
            row => new SessionPosition(StoredHeader.Time(row.GetInt64(0)), row.GetString(1)), cancellationToken) is [var position]
                ? position : null;

    public ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken) => CountAsync(owner is null
        ? (SqlStatement)$"SELECT count(*) FROM {sql.Bn}sessions"
        : $"SELECT count(*) FROM {sql.Bn}sessions WHERE owner = {owner}", cancellationToken);

    public ValueTask<IReadOnlyList<StoredUsage>> MeasureAsync(CancellationToken cancellationToken) => FindAllAsync(
        $"""
        SELECT owner, CAST(sum(one) AS bigint), CAST(sum(bytes) AS bigint) FROM (
            SELECT owner, 1 AS one, {sql.Length}(header) + {sql.Length}(state) AS bytes FROM {sql.Bn}sessions
            UNION ALL SELECT s.owner, 0, {sql.Length}(p.header) + {sql.Length}(p.state)
                FROM {sql.Bn}snapshots AS p JOIN {sql.Bn}sessions AS s ON s.id = p.session_id
            UNION ALL SELECT s.owner, 0, {sql.Length}(a.content)
                FROM {sql.Bn}answers AS a {sql.LargeAnswers} JOIN {sql.Bn}sessions AS s ON s.id = a.session_id
                WHERE {sql.Length}(a.content) > {LargeBytes}) AS measured
        GROUP BY owner
        """,
        row => new StoredUsage(Text(row, 0), row.GetInt64(1), row.GetInt64(2)), cancellationToken);

    public ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken) =>
        FindOneAsync(
        $"SELECT content FROM {sql.Bn}answers WHERE session_id = {sessionId} AND topic = {topic} AND key = {key}",
        row => new StoredAnswer(topic, key, Bytes(row, 0)), cancellationToken);

    public ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken) =>
        FindOneAsync(
        $"SELECT key, content FROM {sql.Bn}answers WHERE session_id = {sessionId} AND topic = {topic} ORDER BY sequence DESC LIMIT 1",
        row => new StoredAnswer(topic, row.GetString(0), Bytes(row, 1)), cancellationToken);

    public ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, long most, CancellationToken cancellationToken) =>
        FindOneAsync(
        $"SELECT header, {BoundedState(most)} FROM {sql.Bn}snapshots AS s WHERE session_id = {sessionId} AND version = {version}",
        row => new StoredSnapshot(sessionId, version, Bytes(row, 0), Bytes(row, 1)) { Withheld = Withheld(row, 2, most) },
            cancellationToken);

    public ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken) =>
        FindAllAsync(
        $"SELECT version, header FROM {sql.Bn}snapshots WHERE session_id = {sessionId} ORDER BY version DESC",
        row => new StoredSnapshot(sessionId, row.GetInt64(0), Bytes(row, 1), default), cancellationToken);

    public async ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(
        IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken)
    {
        var found = await FindAllAsync(
            $"SELECT session_id, version FROM {sql.Bn}snapshots WHERE session_id {Among(sessionIds)} ORDER BY version DESC",
            row => (Id: row.GetString(0), Version: row.GetInt64(1)), cancellationToken);
        return found.ToLookup(row => row.Id, row => row.Version);
    }

    // A column of SQLite holds what was written into it, of whatever type: a damaged key is one all the same.
    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken) => FindAllAsync(
        $"SELECT id, name, role, prefix, created_at, salt, hash FROM {sql.Bn}keys ORDER BY created_at, id{sql.C}",
        row => new StoredKey(Text(row, 0) ?? "", row.GetString(1), row.GetString(2), Text(row, 3), StoredHeader.Time(row.GetInt64(4)),
            row[5] as byte[], row[6] as byte[]),
        cancellationToken);

    public ValueTask<IReadOnlyList<ReadOnlyMemory<byte>>> FindTrafficAsync(string sessionId, CancellationToken cancellationToken) =>
        FindAllAsync(
        $"SELECT content FROM {sql.Bn}traffic WHERE session_id = {sessionId}", row =>
            (ReadOnlyMemory<byte>)Bytes(row, 0), cancellationToken);

    /// <summary>The rows of a statement; none where the database cannot hold what is looked for.</summary>
    protected abstract ValueTask<IReadOnlyList<T>> FindAllAsync<T>(
        SqlStatement statement, Func<DbDataReader, T> row, CancellationToken cancellationToken);

    /// <summary>
    /// The tables in which a session is <c>s</c>, with the condition that it has a name or, if none has that name, an id.
    /// </summary>
    protected abstract SqlStatement Named(string nameOrId);

    /// <summary>A further condition that finds a session of a name.</summary>
    protected abstract SqlStatement OrNamed(string name);

    /// <summary>A condition of a column: to be one of these texts.</summary>
    protected abstract SqlStatement Among(IReadOnlyCollection<string> texts);

    // Whatever the collation of the database, prefixes and ids are compared byte by byte; parts of names without regard to capital letters.
    // Only what there is to compare with: an index is of no use to what may be null.
    private SqlStatement Listed(SessionQuery query)
    {
        SqlStatement? after = null, through = null, prefix = null, kind = null, search = null;
        if (query.After is { CreatedAt.UtcTicks: var at, Id: var id })
            after = $" AND s.created_at <= {at} AND (s.created_at < {at} OR s.id{sql.C} < {id}{sql.C})";
        if (query.Through is { CreatedAt.UtcTicks: var oldest, Id: var last })
            through = $" AND s.created_at >= {oldest} AND (s.created_at > {oldest} OR s.id{sql.C} >= {last}{sql.C})";
        if (query.Prefix is not null) prefix = $" AND substr(s.name, 1, length({query.Prefix})) = {query.Prefix}";
        if (query.Kind is not null) kind = $" AND s.kind = {query.Kind}";
        if (query.Search is not null) search = $" AND {sql.Find}(lower(s.name), lower({query.Search})) > 0";
        return $"true{after}{through}{prefix}{kind}{search}";
    }

    private SqlStatement BoundedState(long most) => $"CASE WHEN {sql.Length}(s.state) <= {most} THEN s.state END, {sql.Length}(s.state)";

    private async ValueTask<long> CountAsync(SqlStatement statement, CancellationToken cancellationToken) =>
        await FindAllAsync(statement, row => row.GetInt64(0), cancellationToken) is [var number] ? number : 0;

    private async ValueTask<T?> FindOneAsync<T>(SqlStatement statement, Func<DbDataReader, T> row, CancellationToken cancellationToken)
        where T : class => await FindAllAsync(statement, row, cancellationToken) is [var found, ..] ? found : null;

    // A row that somebody has written a text into, or nothing, is damaged as one with other bytes is.
    protected static byte[] Bytes(DbDataReader row, int column) => row.IsDBNull(column) ? [] : row.GetFieldValue<byte[]>(column);

    // PostgreSQL's tables have an empty text where SQLite's have none.
    private static string? Text(DbDataReader row, int column) =>
        row.IsDBNull(column) || row.GetString(column) is not { Length: > 0 } text ? null : text;

    private static long Withheld(DbDataReader row, int column, long most) =>
        !row.IsDBNull(column) && row.GetInt64(column) is var length && length > most ? length : 0;
}

/// <summary>
/// A statement written as it reads, <c>$"SELECT … WHERE id = {id}"</c>: what stands in braces is sent with the text as a parameter, never
/// within it. Only a <see cref="SqlText"/> or another statement becomes part of the text.
/// </summary>
[InterpolatedStringHandler]
internal sealed class SqlStatement(int literalLength, int formattedCount)
{
    // Texts as they stand, and the values of the parameters between them, which get their numbers at the end.
    private readonly List<object> _parts = new((2 * formattedCount) + 1);
    private readonly int _length = literalLength + (4 * formattedCount);

    /// <summary>Whether a database can hold all texts among the parameters: what it cannot hold, it does not have.</summary>
    public bool IsPossible { get; private set; } = true;

    public void AppendLiteral(string text) => _parts.Add(text);

    public void AppendFormatted(SqlText text) => _parts.Add(text.Text);

    public void AppendFormatted(SqlStatement? part)
    {
        if (part is null) return;
        IsPossible &= part.IsPossible;
        _parts.AddRange(part._parts);
    }

    public void AppendFormatted(string? text)
    {
        IsPossible &= text is null || CanHold(text);
        _parts.Add(new Parameter(text));
    }

    public void AppendFormatted(string[] texts) => _parts.Add(new Parameter(texts));

    public void AppendFormatted(long number) => _parts.Add(new Parameter(number));

    public void AppendFormatted(ReadOnlyMemory<byte> bytes) => _parts.Add(new Parameter(bytes));

    /// <summary>The text, in which parameters are <c>$1</c>, <c>$2</c> and so on.</summary>
    /// <param name="add">
    /// Takes each parameter: a <see cref="string"/> or null, an array of them, a <see cref="long"/>, or a <see cref="ReadOnlyMemory{T}"/>
    /// of bytes.
    /// </param>
    public string Write(Action<object?> add)
    {
        var (text, number) = (new StringBuilder(_length), 0);
        foreach (var part in _parts)
        {
            if (part is Parameter parameter)
            {
                add(parameter.Value);
                text.Append(CultureInfo.InvariantCulture, $"${++number}");
            }
            else text.Append((string)part);
        }
        return text.ToString();
    }

    // PostgreSQL's text is UTF-8 without the character zero, and half of a pair is no character at all.
    private static bool CanHold(string text)
    {
        for (var rest = text.AsSpan(); rest.Length > 0;)
        {
            if (rest[0] == '\0' || Rune.DecodeFromUtf16(rest, out _, out var read) != OperationStatus.Done) return false;
            rest = rest[read..];
        }
        return true;
    }

    private sealed record Parameter(object? Value);
}

/// <summary>A part of a statement's text, of this service's own making.</summary>
internal readonly record struct SqlText(string Text);
