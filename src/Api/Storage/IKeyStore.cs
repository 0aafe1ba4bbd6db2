namespace BnService.Api.Storage;

/// <summary>A key as a store keeps it: enough to recognize the key, and not the key.</summary>
/// <param name="Id">Names the key; a part of it, and no secret.</param>
/// <param name="Name">What the key is called.</param>
/// <param name="Role">What its holder may do.</param>
/// <param name="Prefix">Beginning of the names of the sessions that its holder sees; null for all.</param>
/// <param name="CreatedAt">When the key was created.</param>
/// <param name="Salt">What was hashed together with the secret.</param>
/// <param name="Hash">The hash of both.</param>
public sealed record StoredKey(
    string Id, string Name, string Role, string? Prefix, DateTimeOffset CreatedAt, ReadOnlyMemory<byte> Salt, ReadOnlyMemory<byte> Hash);

/// <summary>Keeps the keys of the service's callers, beside the sessions and as durably.</summary>
public interface IKeyStore
{
    /// <summary>Whether other processes may change what is stored.</summary>
    bool IsShared { get; }

    /// <summary>All keys, oldest first; of a damaged one what can be read.</summary>
    ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken);

    /// <summary>Stores a new key; false if there is one with its id.</summary>
    ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken);

    /// <summary>Stores a key where there is none of any kind, and nobody stores another one in the same moment; false otherwise.</summary>
    ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken);

    /// <summary>Replaces the salt and the hash of a key; false if it is gone.</summary>
    ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken);

    /// <summary>Deletes a key; false if it is gone.</summary>
    ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken);
}
