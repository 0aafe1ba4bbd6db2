using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Auth;

/// <summary>Keys that several services share, as nodes share a database.</summary>
internal sealed class SharedKeys : IKeyStore
{
    private readonly MemoryKeyStore _inner = new();
    private int _asked;

    /// <summary>Puts it into a service.</summary>
    public void Replace(IServiceCollection services) => services.AddSingleton<IKeyStore>(this);

    public bool IsShared => true;

    public bool IsAway { get; set; }

    public int Asked => _asked;

    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken) => Present().ListKeysAsync(cancellationToken);

    public ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) => Present().TryInsertKeyAsync(key, cancellationToken);

    public ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken) => Present().TryInsertFirstKeyAsync(key, cancellationToken);

    public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) => Present().TryReplaceKeyAsync(key, cancellationToken);

    public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) => Present().TryDeleteKeyAsync(id, cancellationToken);

    private MemoryKeyStore Present()
    {
        Interlocked.Increment(ref _asked);
        return IsAway ? throw new StorageUnavailableException("the store is away", null) : _inner;
    }
}
