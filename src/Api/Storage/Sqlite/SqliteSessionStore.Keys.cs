namespace BnService.Api.Storage.Sqlite;

// The keys of the service's callers.
internal sealed partial class SqliteSessionStore : IKeyStore
{
    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken) => FindAllAsync(
        "SELECT id, name, role, prefix, created_at, salt, hash FROM keys ORDER BY created_at, id",
        reader => new StoredKey(
            reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.IsDBNull(3) ? null : reader.GetString(3), Time(reader.GetInt64(4)),
            (byte[])reader[5], (byte[])reader[6]),
        cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) => Database.WriteAsync(connection => Execute(connection, """
        INSERT OR IGNORE INTO keys (id, name, role, prefix, created_at, salt, hash) VALUES ($id, $name, $role, $prefix, $created_at, $salt, $hash)
        """,
        ("$id", key.Id), ("$name", key.Name), ("$role", key.Role), ("$prefix", key.Prefix), ("$created_at", key.CreatedAt.UtcTicks),
        ("$salt", Bytes(key.Salt)), ("$hash", Bytes(key.Hash))) == 1);

    /// <inheritdoc/>
    public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) => Database.WriteAsync(connection => Execute(connection,
        "UPDATE keys SET salt = $salt, hash = $hash WHERE id = $id", ("$salt", Bytes(key.Salt)), ("$hash", Bytes(key.Hash)), ("$id", key.Id)) == 1);

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) => Database.WriteAsync(connection =>
        Execute(connection, "DELETE FROM keys WHERE id = $id", ("$id", id)) == 1);
}
