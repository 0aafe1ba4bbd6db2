namespace BnService.Api.Storage.Postgres;

// What has passed through sessions, a row per node: nodes do not overtake each other, and whoever looks reads all. All of it may be done twice.
internal sealed partial class PostgresSessionStore : ITrafficStore
{
    // Nodes that were called otherwise before they were started again leave rows behind, which those that come after them have taken over.
    private const int MostNodes = 8;

    /// <inheritdoc/>
    public async ValueTask SaveTrafficAsync(IReadOnlyList<StoredTraffic> traffic, CancellationToken cancellationToken) =>
        await FindAllAsync([.. traffic.SelectMany(Save)], Nothing, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<ReadOnlyMemory<byte>>> FindTrafficAsync(string sessionId, CancellationToken cancellationToken) => FindAllAsync(
        $"SELECT content FROM bn_traffic WHERE session_id = {sessionId}", row => (ReadOnlyMemory<byte>)Bytes(row, 0), cancellationToken);

    // In ticks, of the database's clock: those of two nodes need not agree.
    private static readonly SqlText Now = new("CAST(extract(epoch FROM now()) * 10000000 AS bigint) + 621355968000000000");

    private static IEnumerable<PostgresStatement> Save(StoredTraffic traffic)
    {
        yield return $"""
            INSERT INTO bn_traffic (session_id, node, saved_at, content)
            SELECT s.id, {traffic.Node}, {Now}, {traffic.Content} FROM bn_sessions AS s WHERE s.id = {traffic.SessionId}
            ON CONFLICT (session_id, node) DO UPDATE SET saved_at = excluded.saved_at, content = excluded.content
            """;
        yield return $"""
            DELETE FROM bn_traffic WHERE session_id = {traffic.SessionId} AND saved_at <
                (SELECT saved_at FROM bn_traffic WHERE session_id = {traffic.SessionId} ORDER BY saved_at DESC LIMIT 1 OFFSET {MostNodes - 1})
            """;
    }
}
