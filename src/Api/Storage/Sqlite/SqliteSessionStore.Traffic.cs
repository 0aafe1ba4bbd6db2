namespace BnService.Api.Storage.Sqlite;

// What has passed through sessions. One process has the file, so that there is one node, whatever it is called.
internal sealed partial class SqliteSessionStore : ITrafficStore
{
    /// <inheritdoc/>
    public async ValueTask SaveTrafficAsync(IReadOnlyList<StoredTraffic> traffic, CancellationToken cancellationToken) => await WriteAsync(connection =>
    {
        foreach (var (id, _, content) in traffic)
        {
            Execute(connection,
                "INSERT OR REPLACE INTO traffic (session_id, content) SELECT $id, $content WHERE EXISTS (SELECT 1 FROM sessions WHERE id = $id)",
                ("$id", id), ("$content", Bytes(content)));
        }
        return true;
    });

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<ReadOnlyMemory<byte>>> FindTrafficAsync(string sessionId, CancellationToken cancellationToken) => FindAllAsync(
        "SELECT content FROM traffic WHERE session_id = $id", reader => (ReadOnlyMemory<byte>)Blob(reader, 0), cancellationToken, ("$id", sessionId));
}
