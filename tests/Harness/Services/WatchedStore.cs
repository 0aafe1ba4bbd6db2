using System.Runtime.CompilerServices;
using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Harness;

/// <summary>A store in memory that lets a test do something before or after a change is stored, and that can be away.</summary>
public sealed class WatchedStore : ISessionStore
{
    private readonly MemorySessionStore _inner = new(1L << 30);
    private readonly List<string> _asked = [];
    private Action<string, long>? _changed;
    private int _withheld;

    /// <summary>Several services use it, as nodes use a database.</summary>
    public bool IsShared { get; init; } = true;

    public bool IsOpen => true;

    public event Action<string, long>? Changed
    {
        add => _changed += value;
        remove => _changed -= value;
    }

    /// <summary>Whether nothing can be asked of it or told to it, as of a database that is being restarted.</summary>
    public bool IsAway { get; set; }

    /// <summary>Whether another node is always faster.</summary>
    public bool IsAlwaysOvertaken { get; set; }

    /// <summary>Runs once, before the next change is stored.</summary>
    public Func<Task>? BeforeNextUpdate { get; set; }

    /// <summary>Runs once, after the next change has been stored and before anybody is told.</summary>
    public Func<Task>? AfterNextUpdate { get; set; }

    /// <summary>Runs after each change that has been stored.</summary>
    public Action? AfterEachUpdate { get; set; }

    /// <summary>Runs once, after the next session has been found and before anybody is told.</summary>
    public Func<Task>? AfterNextFind { get; set; }

    /// <summary>Runs once, after the next snapshot has been found and before anybody is told.</summary>
    public Func<Task>? AfterNextSnapshot { get; set; }

    /// <summary>Runs once, before the next session is deleted.</summary>
    public Func<Task>? BeforeNextDelete { get; set; }

    /// <summary>Runs once, before the next snapshot is deleted.</summary>
    public Func<Task>? BeforeNextSnapshotDelete { get; set; }

    /// <summary>Runs once, before sessions are counted the next time.</summary>
    public Func<Task>? BeforeNextCount { get; set; }

    /// <summary>Number of sessions that were read with their states.</summary>
    public int Finds { get; private set; }

    /// <summary>Number of sessions whose states were too large to be read at once.</summary>
    public int Withheld => _withheld;

    /// <summary>Puts a session back as it is now, as a backup that is restored does: without the answers and snapshots since.</summary>
    /// <param name="name">The session.</param>
    /// <param name="isRowAlone">With them all the same: its row is put back, and nothing else.</param>
    /// <returns>Does so.</returns>
    public async Task<Func<Task>> BackUpAsync(string name, bool isRowAlone = false)
    {
        var backup = (await _inner.FindAsync(name, long.MaxValue, default))!;
        return async () =>
        {
            if (isRowAlone) Assert.True(await _inner.TryUpdateAsync(backup, (await _inner.FindVersionAsync(backup.Id, default))!.Value, [], default));
            if (isRowAlone) return;
            if (await _inner.FindVersionAsync(backup.Id, default) is { } version) await _inner.TryDeleteAsync(backup.Id, version, default);
            Assert.True(await _inner.TryInsertAsync(backup, default));
        };
    }

    /// <summary>What was asked of it since the last time, in order.</summary>
    public string TakeAsked()
    {
        lock (_asked)
        {
            var asked = string.Join(' ', _asked);
            _asked.Clear();
            return asked;
        }
    }

    /// <summary>Tells the nodes of a version; 0 of a deletion.</summary>
    public void Notify(string id, long version) => _changed?.Invoke(id, version);

    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken) =>
        Present().TryInsertAsync(session, cancellationToken);

    public async ValueTask<StoredSession?> FindAsync(string nameOrId, long most, CancellationToken cancellationToken)
    {
        var found = await Present().FindAsync(nameOrId, most, cancellationToken);
        if (found is { Withheld: > 0 })
        {
            Interlocked.Increment(ref _withheld);
            return found;
        }
        var after = AfterNextFind;
        AfterNextFind = null;
        Finds++;
        if (after is not null) await after();
        return found;
    }

    public async ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken)
    {
        var (before, after) = (BeforeNextUpdate, AfterNextUpdate);
        (BeforeNextUpdate, AfterNextUpdate) = (null, null);
        if (before is not null) await before();
        if (IsAlwaysOvertaken) return false;
        var isStored = await Present().TryUpdateAsync(session, expected, answers, cancellationToken);
        if (after is not null) await after();
        AfterEachUpdate?.Invoke();
        return isStored;
    }

    public async ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken)
    {
        var before = BeforeNextDelete;
        BeforeNextDelete = null;
        if (before is not null) await before();
        return await Present().TryDeleteAsync(id, expected, cancellationToken);
    }

    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken) =>
        Present().ListAsync(query, cancellationToken);

    public ValueTask<SessionPosition?> FindPositionAsync(SessionPosition? after, int number, CancellationToken cancellationToken) =>
        Present().FindPositionAsync(after, number, cancellationToken);

    public async ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken)
    {
        var before = BeforeNextCount;
        BeforeNextCount = null;
        if (before is not null) await before();
        return await Present().CountAsync(owner, cancellationToken);
    }

    public ValueTask<IReadOnlyList<StoredUsage>> MeasureAsync(CancellationToken cancellationToken) => Present().MeasureAsync(cancellationToken);

    public ValueTask<long> CountListedAsync(SessionQuery query, CancellationToken cancellationToken) => Present().CountListedAsync(query, cancellationToken);

    public ValueTask<string?> FindNameAsync(string? name, string id, CancellationToken cancellationToken) => Present().FindNameAsync(name, id, cancellationToken);

    public ValueTask<StoredVersion?> FindVersionAsync(string id, CancellationToken cancellationToken) => Present().FindVersionAsync(id, cancellationToken);

    public ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken) =>
        Present().FindAnswerAsync(sessionId, topic, key, cancellationToken);

    public ValueTask<bool> TryForgetAnswerAsync(string sessionId, string topic, string key, StoredVersion expected, CancellationToken cancellationToken) =>
        Present().TryForgetAnswerAsync(sessionId, topic, key, expected, cancellationToken);

    public ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken) =>
        Present().FindLastAnswerAsync(sessionId, topic, cancellationToken);

    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken) =>
        Present().TryInsertSnapshotAsync(snapshot, cancellationToken);

    public async ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, long most, CancellationToken cancellationToken)
    {
        var found = await Present().FindSnapshotAsync(sessionId, version, most, cancellationToken);
        if (found is { Withheld: > 0 }) return found;
        var after = AfterNextSnapshot;
        AfterNextSnapshot = null;
        if (after is not null) await after();
        return found;
    }

    public ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken) =>
        Present().ListSnapshotsAsync(sessionId, cancellationToken);

    public ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken) =>
        Present().FindSnapshotVersionsAsync(sessionIds, cancellationToken);

    public async ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken)
    {
        var before = BeforeNextSnapshotDelete;
        BeforeNextSnapshotDelete = null;
        if (before is not null) await before();
        return await Present().TryDeleteSnapshotAsync(sessionId, version, cancellationToken);
    }

    private MemorySessionStore Present([CallerMemberName] string call = "")
    {
        lock (_asked) _asked.Add(call);
        return IsAway ? throw new StorageUnavailableException("the store is away", null) : _inner;
    }
}

/// <summary>What several services share: a store, and the place where ranks meet.</summary>
/// <param name="time">Its clock, which is no node's.</param>
public sealed class SharedStorage(TimeProvider? time = null)
{
    public WatchedStore Sessions { get; } = new();

    internal MemoryContributions Contributions { get; } = new(time ?? TimeProvider.System);

    /// <summary>Number of ranks that have come to a step which is not over.</summary>
    public int WaitingRanks => Contributions.Count;

    internal void Replace(IServiceCollection services) =>
        services.AddSingleton<ISessionStore>(Sessions).AddSingleton<IContributions>(Contributions);
}
