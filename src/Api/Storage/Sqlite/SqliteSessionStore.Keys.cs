using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

// The keys of the service's callers.
internal sealed partial class SqliteSessionStore : IKeyStore
{
    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken) => FindAllAsync(
        "SELECT id, name, role, prefix, created_at, salt, hash FROM keys ORDER BY created_at, id",
        // The columns hold what was written into them, of whatever type: a damaged key is one all the same.
        reader => new StoredKey(
            reader.IsDBNull(0) ? "" : reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.IsDBNull(3) ? null : reader.GetString(3),
            Time(reader.GetInt64(4)), reader[5] as byte[], reader[6] as byte[]),
        cancellationToken);

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) => WriteKeyAsync(connection =>
        Insert(connection, key, "") == 1);

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken) => WriteKeyAsync(connection =>
        Insert(connection, key, "WHERE NOT EXISTS (SELECT 1 FROM keys)") == 1);

    /// <inheritdoc/>
    public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) => WriteKeyAsync(connection => Execute(connection,
        "UPDATE keys SET salt = $salt, hash = $hash WHERE id = $id", ("$salt", Bytes(key.Salt)), ("$hash", Bytes(key.Hash)), ("$id", key.Id)) == 1);

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) => WriteKeyAsync(connection =>
        Execute(connection, "DELETE FROM keys WHERE coalesce(id, '') = $id", ("$id", id)) > 0);

    private static int Insert(SqliteConnection connection, StoredKey key, string where) => Execute(connection,
        $"INSERT OR IGNORE INTO keys (id, name, role, prefix, created_at, salt, hash) SELECT $id, $name, $role, $prefix, $created_at, $salt, $hash {where}",
        ("$id", key.Id), ("$name", key.Name), ("$role", key.Role), ("$prefix", key.Prefix), ("$created_at", key.CreatedAt.UtcTicks),
        ("$salt", Bytes(key.Salt)), ("$hash", Bytes(key.Hash)));

    // Keys do not stay in the log alone: without it, a file that had keys would be one that has none, and opens to everybody.
    private async ValueTask<bool> WriteKeyAsync(Func<SqliteConnection, bool> write)
    {
        if (!await WriteAsync(write)) return false;
        try
        {
            await ReadAsync(connection => Execute(connection, "PRAGMA wal_checkpoint(FULL)"), CancellationToken.None);
        }
        catch (StorageUnavailableException)
        {
            // It is stored all the same, and comes into the file later.
        }
        return true;
    }
}
