using System.Data.Common;

namespace BnService.Api.Storage.Postgres;

// What is not a session: where the ranks of a step meet, the keys of callers, and what has passed through sessions. All of it may be done
// twice.
internal sealed partial class PostgresSessionStore
{
    public ValueTask<IReadOnlyList<StoredContribution>> AddAsync(
        string sessionId, string topic, long step, StoredContribution contribution, CancellationToken cancellationToken) =>
        // Two transactions, so that of two ranks that add at the same time the later one sees both.
        FindAllAsync(
            [
                $"""
                INSERT INTO bn_contributions (session_id, topic, step, rank, world_size, nonce, content, added_at)
                VALUES ({sessionId}, {topic}, {step}, {contribution.Rank}, {contribution.WorldSize}, {contribution.Nonce},
                    {contribution.Content}, now())
                ON CONFLICT DO NOTHING
                """,
                Contributions(sessionId, topic, step),
            ],
            Contribution, cancellationToken);

    public ValueTask<IReadOnlyList<StoredContribution>> FindAsync(
        string sessionId, string topic, long step, CancellationToken cancellationToken) =>
        FindAllAsync(Contributions(sessionId, topic, step), Contribution, cancellationToken);

    public async ValueTask<long?> FindStepAsync(string sessionId, string topic, CancellationToken cancellationToken) => await FindAllAsync(
        $"SELECT step FROM bn_contributions WHERE session_id = {sessionId} AND topic = {topic} ORDER BY step DESC LIMIT 1",
        row => row.GetInt64(0), cancellationToken) is [var step] ? step : null;

    public async ValueTask RemoveAsync(string sessionId, string topic, long step, int rank, string nonce,
        CancellationToken cancellationToken) =>
        await FindAllAsync(
            $"""
            DELETE FROM bn_contributions
            WHERE session_id = {sessionId} AND topic = {topic} AND step = {step} AND rank = {rank} AND nonce = {nonce}
            """,
            Contribution, cancellationToken);

    public async ValueTask ForgetAsync(string sessionId, string topic, long step, CancellationToken cancellationToken) =>
        await FindAllAsync(
        // And what nodes that are gone have left behind under names that nobody uses any more: no rank waits for so long.
        $"""
        DELETE FROM bn_contributions
        WHERE session_id = {sessionId} AND ((topic = {topic} AND step <= {step}) OR added_at < now() - interval '1 day')
        """,
        Contribution, cancellationToken);

    private static SqlStatement Contributions(string sessionId, string topic, long step) => $"""
        SELECT rank, world_size, nonce, content, CAST(extract(epoch FROM now() - added_at) AS double precision) FROM bn_contributions
        WHERE session_id = {sessionId} AND topic = {topic} AND step = {step} ORDER BY rank
        """;

    private static StoredContribution Contribution(DbDataReader row) =>
        new((int)row.GetInt64(0), (int)row.GetInt64(1), row.GetString(2), Bytes(row, 3))
        {
            // Nodes of before do not say when it came: then it has come now.
            Age = row.IsDBNull(4) ? TimeSpan.Zero : TimeSpan.FromSeconds(row.GetDouble(4)),
        };

    public async ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) =>
        (await FindAllAsync([Insertion(key, null), Presence(key)], Nothing, cancellationToken)).Count == 1;

    public async ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken) => (await FindAllAsync(
        [
            // Whoever comes in the same moment waits for the row until this is over, and sees then what it has brought.
            $"UPDATE bn_schema SET number = number WHERE id = 1",
            Insertion(key, $" WHERE NOT EXISTS (SELECT 1 FROM bn_keys)"),
            Presence(key),
        ],
        Nothing, cancellationToken, isOneTransaction: true)).Count == 1;

    public async ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) => (await FindAllAsync(
        $"UPDATE bn_keys SET salt = {key.Salt}, hash = {key.Hash} WHERE id = {key.Id} RETURNING 1", Nothing, cancellationToken)).Count == 1;

    public async ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) =>
        (await FindAllAsync($"DELETE FROM bn_keys WHERE id = {id} RETURNING 1", Nothing, cancellationToken)).Count == 1;

    private static SqlStatement Insertion(StoredKey key, SqlStatement? where) => $"""
        INSERT INTO bn_keys (id, name, role, prefix, created_at, salt, hash)
        SELECT {key.Id}, {key.Name}, {key.Role}, {key.Prefix ?? ""}, {key.CreatedAt.UtcTicks}, {key.Salt}, {key.Hash}{where}
        ON CONFLICT DO NOTHING
        """;

    // The hash is of a secret that nobody else draws: where it is there, the insertion has brought it.
    private static SqlStatement Presence(StoredKey key) => $"SELECT 1 FROM bn_keys WHERE id = {key.Id} AND hash = {key.Hash}";

    private static bool Nothing(DbDataReader row) => true;

    // Nodes that were called otherwise before they were started again leave rows behind, which those that come after them have taken over.
    private const int MostNodes = 8;

    public async ValueTask SaveTrafficAsync(IReadOnlyList<StoredTraffic> traffic, CancellationToken cancellationToken) =>
        await FindAllAsync([.. traffic.SelectMany(Save)], Nothing, cancellationToken);

    // In ticks, of the database's clock: those of two nodes need not agree.
    private static readonly SqlText Now = new("CAST(extract(epoch FROM now()) * 10000000 AS bigint) + 621355968000000000");

    private static IEnumerable<SqlStatement> Save(StoredTraffic traffic)
    {
        yield return $"""
            INSERT INTO bn_traffic (session_id, node, saved_at, content)
            SELECT s.id, {traffic.Node}, {Now}, {traffic.Content} FROM bn_sessions AS s WHERE s.id = {traffic.SessionId}
            ON CONFLICT (session_id, node) DO UPDATE SET saved_at = excluded.saved_at, content = excluded.content
            """;
        yield return $"""
            DELETE FROM bn_traffic WHERE session_id = {traffic.SessionId} AND saved_at <
                (SELECT saved_at FROM bn_traffic WHERE session_id = {traffic.SessionId}
                    ORDER BY saved_at DESC LIMIT 1 OFFSET {MostNodes - 1})
            """;
    }
}
