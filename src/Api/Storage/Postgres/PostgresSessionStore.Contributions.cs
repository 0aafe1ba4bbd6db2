using Npgsql;

namespace BnService.Api.Storage.Postgres;

// Where the ranks of a step meet, on whatever node each of them is. All of it may be done twice.
internal sealed partial class PostgresSessionStore
{
    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredContribution>> AddAsync(
        string sessionId, string topic, long step, StoredContribution contribution, CancellationToken cancellationToken) =>
        // Two transactions, so that of two ranks that add at the same time the later one sees both.
        FindAllAsync(
            [
                $"""
                INSERT INTO bn_contributions (session_id, topic, step, rank, world_size, nonce, content, added_at)
                VALUES ({sessionId}, {topic}, {step}, {contribution.Rank}, {contribution.WorldSize}, {contribution.Nonce}, {contribution.Content}, now())
                ON CONFLICT DO NOTHING
                """,
                Contributions(sessionId, topic, step),
            ],
            Contribution, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredContribution>> FindAsync(string sessionId, string topic, long step, CancellationToken cancellationToken) =>
        FindAllAsync(Contributions(sessionId, topic, step), Contribution, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<long?> FindStepAsync(string sessionId, string topic, CancellationToken cancellationToken) => await FindAllAsync(
        $"SELECT step FROM bn_contributions WHERE session_id = {sessionId} AND topic = {topic} ORDER BY step DESC LIMIT 1",
        row => row.GetInt64(0), cancellationToken) is [var step] ? step : null;

    /// <inheritdoc/>
    public async ValueTask RemoveAsync(string sessionId, string topic, long step, int rank, string nonce, CancellationToken cancellationToken) =>
        await FindAllAsync(
            $"""
            DELETE FROM bn_contributions
            WHERE session_id = {sessionId} AND topic = {topic} AND step = {step} AND rank = {rank} AND nonce = {nonce}
            """,
            Contribution, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask ForgetAsync(string sessionId, string topic, long step, CancellationToken cancellationToken) => await FindAllAsync(
        // And what nodes that are gone have left behind under names that nobody uses any more: no rank waits for so long.
        $"""
        DELETE FROM bn_contributions
        WHERE session_id = {sessionId} AND ((topic = {topic} AND step <= {step}) OR added_at < now() - interval '1 day')
        """,
        Contribution, cancellationToken);

    private static PostgresStatement Contributions(string sessionId, string topic, long step) => $"""
        SELECT rank, world_size, nonce, content, CAST(extract(epoch FROM now() - added_at) AS double precision) FROM bn_contributions
        WHERE session_id = {sessionId} AND topic = {topic} AND step = {step} ORDER BY rank
        """;

    private static StoredContribution Contribution(NpgsqlDataReader row) =>
        new((int)row.GetInt64(0), (int)row.GetInt64(1), row.GetString(2), Bytes(row, 3))
        {
            // Nodes of before do not say when it came: then it has come now.
            Age = row.IsDBNull(4) ? TimeSpan.Zero : TimeSpan.FromSeconds(row.GetDouble(4)),
        };
}
