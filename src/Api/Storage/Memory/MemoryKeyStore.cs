namespace BnService.Api.Storage.Memory;

/// <summary>Keeps keys as long as the process lives.</summary>
internal sealed class MemoryKeyStore : IKeyStore
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, StoredKey> _keys = [];

    /// <inheritdoc/>
    public bool IsShared => false;

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken)
    {
        lock (_lock) return new([.. _keys.Values.OrderBy(key => key.CreatedAt).ThenBy(key => key.Id, StringComparer.Ordinal)]);
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_keys.TryAdd(key.Id, key));
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_keys.Count == 0 && _keys.TryAdd(key.Id, key));
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_keys.TryGetValue(key.Id, out var known)) return new(false);
            _keys[key.Id] = known with { Salt = key.Salt, Hash = key.Hash };
            return new(true);
        }
    }

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_keys.Remove(id));
    }
}
