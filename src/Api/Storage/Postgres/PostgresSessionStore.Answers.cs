namespace BnService.Api.Storage.Postgres;

// What belongs to sessions: remembered answers and snapshots.
internal sealed partial class PostgresSessionStore
{
    /// <inheritdoc/>
    public ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT content FROM bn_answers WHERE session_id = {sessionId} AND topic = {topic} AND key = {key}",
        row => new StoredAnswer(topic, key, Bytes(row, 0)), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryForgetAnswerAsync(
        string sessionId, string topic, string key, StoredVersion expected, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new AnswerDeletion(sessionId, topic, key, expected), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT key, content FROM bn_answers WHERE session_id = {sessionId} AND topic = {topic} ORDER BY sequence DESC LIMIT 1",
        row => new StoredAnswer(topic, row.GetString(0), Bytes(row, 1)), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SnapshotInsertion(snapshot), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, long most, CancellationToken cancellationToken) => FindOneAsync(
        $"SELECT header, {BoundedState(most)} FROM bn_snapshots WHERE session_id = {sessionId} AND version = {version}",
        row => new StoredSnapshot(sessionId, version, Bytes(row, 0), State(row, 1)) { Withheld = row.IsDBNull(1) ? row.GetInt32(2) : 0 }, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken) => FindAllAsync(
        $"SELECT version, header FROM bn_snapshots WHERE session_id = {sessionId} ORDER BY version DESC",
        row => new StoredSnapshot(sessionId, row.GetInt64(0), Bytes(row, 1), default), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken)
    {
        var found = await FindAllAsync(
            $"SELECT session_id, version FROM bn_snapshots WHERE session_id = ANY({sessionIds.ToArray()}) ORDER BY version DESC",
            row => (Id: row.GetString(0), Version: row.GetInt64(1)), cancellationToken);
        return found.ToLookup(row => row.Id, row => row.Version);
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken) =>
        _writer.WriteAsync(new SnapshotDeletion(sessionId, version), cancellationToken);
}
