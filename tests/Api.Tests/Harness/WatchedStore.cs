using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Harness;

/// <summary>A store in memory that lets a test do something before or after a change is stored.</summary>
public sealed class WatchedStore : ISessionStore
{
    private readonly MemorySessionStore _inner = new(1L << 30);

    /// <summary>Several services use it, as nodes use a database.</summary>
    public bool IsShared => true;

    public event Action<string, long>? Changed
    {
        add { }
        remove { }
    }

    /// <summary>Runs once, before the next change is stored.</summary>
    public Func<Task>? BeforeNextUpdate { get; set; }

    /// <summary>Runs once, after the next change has been stored and before anybody is told.</summary>
    public Func<Task>? AfterNextUpdate { get; set; }

    /// <summary>Runs after each change that has been stored.</summary>
    public Action? AfterEachUpdate { get; set; }

    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) =>
        _inner.TryInsertAsync(session, cancellationToken);

    public ValueTask<StoredSession?> FindAsync(string nameOrId, CancellationToken cancellationToken) =>
        _inner.FindAsync(nameOrId, cancellationToken);

    public async ValueTask<bool> TryUpdateAsync(
        StoredSession session, long expectedVersion, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken)
    {
        var (before, after) = (BeforeNextUpdate, AfterNextUpdate);
        (BeforeNextUpdate, AfterNextUpdate) = (null, null);
        if (before is not null) await before();
        var isStored = await _inner.TryUpdateAsync(session, expectedVersion, answers, cancellationToken);
        if (after is not null) await after();
        AfterEachUpdate?.Invoke();
        return isStored;
    }

    public ValueTask<bool> TryDeleteAsync(string id, long expectedVersion, CancellationToken cancellationToken) =>
        _inner.TryDeleteAsync(id, expectedVersion, cancellationToken);

    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken) =>
        _inner.ListAsync(query, cancellationToken);

    public ValueTask<long> CountAsync(CancellationToken cancellationToken) => _inner.CountAsync(cancellationToken);

    public ValueTask<long?> FindVersionAsync(string id, CancellationToken cancellationToken) => _inner.FindVersionAsync(id, cancellationToken);

    public ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken) =>
        _inner.FindAnswerAsync(sessionId, topic, key, cancellationToken);

    public ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken) =>
        _inner.FindLastAnswerAsync(sessionId, topic, cancellationToken);

    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken) =>
        _inner.TryInsertSnapshotAsync(snapshot, cancellationToken);

    public ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken) =>
        _inner.FindSnapshotAsync(sessionId, version, cancellationToken);

    public ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken) =>
        _inner.ListSnapshotsAsync(sessionId, cancellationToken);

    public ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken) =>
        _inner.FindSnapshotVersionsAsync(sessionIds, cancellationToken);

    public ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken) =>
        _inner.TryDeleteSnapshotAsync(sessionId, version, cancellationToken);
}

/// <summary>What several services share: a store, and the place where ranks meet.</summary>
public sealed class SharedStorage
{
    public WatchedStore Sessions { get; } = new();

    internal MemoryContributions Contributions { get; } = new();

    /// <summary>Number of ranks that have come to a step which is not over.</summary>
    public int WaitingRanks => Contributions.Count;

    internal void Replace(IServiceCollection services) =>
        services.AddSingleton<ISessionStore>(Sessions).AddSingleton<IContributions>(Contributions);
}
