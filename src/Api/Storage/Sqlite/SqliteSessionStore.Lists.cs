namespace BnService.Api.Storage.Sqlite;

// Pages of sessions, and how many there are.
internal sealed partial class SqliteSessionStore
{
    // Prefixes are compared as the names are, byte by byte; parts of names without regard to capital letters.
    private const string Listed = "($prefix IS NULL OR substr(name, 1, length($prefix)) = $prefix) AND ($kind IS NULL OR kind = $kind) "
        + "AND ($search IS NULL OR instr(lower(name), lower($search)) > 0)";

    private const string Newest = "ORDER BY created_at DESC, id DESC";

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken) => FindAllAsync(
        $"""
        SELECT {HeaderColumns} FROM sessions WHERE id IN (SELECT id FROM sessions WHERE {Listed} AND {Range(query)} {Newest} LIMIT $limit) {Newest}
        """,
        reader => new StoredHeader(
            reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), Time(reader.GetInt64(4)), Blob(reader, 5)),
        cancellationToken, [.. Listing(query), ("$limit", query.Limit)]);

    /// <inheritdoc/>
    public ValueTask<long> CountListedAsync(SessionQuery query, CancellationToken cancellationToken) => ReadAsync(connection =>
    {
        using var command = Command(connection, $"SELECT count(*) FROM sessions WHERE {Listed} AND {Range(query)}", Listing(query));
        return (long)command.ExecuteScalar()!;
    }, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<SessionPosition?> FindPositionAsync(SessionPosition? after, int number, CancellationToken cancellationToken)
    {
        var query = new SessionQuery(null, null, 1, after);
        var found = await FindAllAsync($"SELECT created_at, id FROM sessions WHERE {Range(query)} {Newest} LIMIT 1 OFFSET $before",
            reader => new SessionPosition(Time(reader.GetInt64(0)), reader.GetString(1)), cancellationToken, [.. Listing(query), ("$before", number - 1)]);
        return found is [var position] ? position : null;
    }

    /// <inheritdoc/>
    public ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken) => ReadAsync(connection =>
    {
        using var command = owner is null
            ? Command(connection, "SELECT count(*) FROM sessions")
            : Command(connection, "SELECT count(*) FROM sessions WHERE owner = $owner", ("$owner", owner));
        return (long)command.ExecuteScalar()!;
    }, cancellationToken);

    // Only what there is to compare with: the index is of no use to what may be null.
    private static string Range(SessionQuery query) =>
        (query.After is null ? "true" : "(created_at, id) < ($after_at, $after_id)")
        + (query.Through is null ? "" : " AND (created_at, id) >= ($through_at, $through_id)");

    private static (string Name, object? Value)[] Listing(SessionQuery query) =>
    [
        ("$prefix", query.Prefix), ("$kind", query.Kind), ("$search", query.Search),
        ("$after_at", query.After?.CreatedAt.UtcTicks), ("$after_id", query.After?.Id),
        ("$through_at", query.Through?.CreatedAt.UtcTicks), ("$through_id", query.Through?.Id),
    ];
}
