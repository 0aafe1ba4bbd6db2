using Npgsql;

namespace BnService.Api.Storage.Postgres;

// The keys of the service's callers: few, and seldom changed. All of it may be done twice.
internal sealed partial class PostgresSessionStore : IKeyStore
{
    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken) => FindAllAsync(
        $"""SELECT id, name, role, prefix, created_at, salt, hash FROM bn_keys ORDER BY created_at, id COLLATE "C" """,
        row => new StoredKey(
            row.GetString(0), row.GetString(1), row.GetString(2), row.GetString(3) is { Length: > 0 } prefix ? prefix : null,
            Time(row.GetInt64(4)), Bytes(row, 5), Bytes(row, 6)),
        cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) =>
        (await FindAllAsync([Insertion(key, null), Presence(key)], Nothing, cancellationToken)).Count == 1;

    /// <inheritdoc/>
    public async ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken) => (await FindAllAsync(
        [
            // Whoever comes in the same moment waits for the row until this is over, and sees then what it has brought.
            $"UPDATE bn_schema SET number = number WHERE id = 1",
            Insertion(key, $" WHERE NOT EXISTS (SELECT 1 FROM bn_keys)"),
            Presence(key),
        ],
        Nothing, cancellationToken, isOneTransaction: true)).Count == 1;

    /// <inheritdoc/>
    public async ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) => (await FindAllAsync(
        $"UPDATE bn_keys SET salt = {key.Salt}, hash = {key.Hash} WHERE id = {key.Id} RETURNING 1", Nothing, cancellationToken)).Count == 1;

    /// <inheritdoc/>
    public async ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) =>
        (await FindAllAsync($"DELETE FROM bn_keys WHERE id = {id} RETURNING 1", Nothing, cancellationToken)).Count == 1;

    private static PostgresStatement Insertion(StoredKey key, PostgresStatement? where) => $"""
        INSERT INTO bn_keys (id, name, role, prefix, created_at, salt, hash)
        SELECT {key.Id}, {key.Name}, {key.Role}, {key.Prefix ?? ""}, {key.CreatedAt.UtcTicks}, {key.Salt}, {key.Hash}{where}
        ON CONFLICT DO NOTHING
        """;

    // The hash is of a secret that nobody else draws: where it is there, the insertion has brought it.
    private static PostgresStatement Presence(StoredKey key) => $"SELECT 1 FROM bn_keys WHERE id = {key.Id} AND hash = {key.Hash}";

    private static bool Nothing(NpgsqlDataReader row) => true;
}
