namespace BnService.Api.Storage.Memory;

/// <summary>Where the ranks of a step meet on one node.</summary>
/// <param name="time">The clock.</param>
internal sealed class MemoryContributions(TimeProvider time) : IContributions
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(string SessionId, string Topic), SortedDictionary<long, SortedDictionary<int,
        (StoredContribution Contribution, long AddedAt)>>> _steps = [];

    /// <summary>Number of contributions; where there are none, nothing is kept.</summary>
    public int Count
    {
        get
        {
            lock (_lock) return _steps.Values.Sum(steps => steps.Values.Sum(ranks => ranks.Count));
        }
    }

    /// <summary>Whether nothing is kept.</summary>
    public bool IsEmpty
    {
        get
        {
            lock (_lock) return _steps.Count == 0;
        }
    }

    public ValueTask<IReadOnlyList<StoredContribution>> AddAsync(
        string sessionId, string topic, long step, StoredContribution contribution, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_steps.TryGetValue((sessionId, topic), out var steps)) _steps.Add((sessionId, topic), steps = []);
            if (!steps.TryGetValue(step, out var ranks)) steps.Add(step, ranks = []);
            ranks.TryAdd(contribution.Rank, (contribution, time.GetTimestamp()));
            return new(Aged(ranks.Values));
        }
    }

    public ValueTask<IReadOnlyList<StoredContribution>> FindAsync(
        string sessionId, string topic, long step, CancellationToken cancellationToken)
    {
        lock (_lock) return new(Aged(_steps.GetValueOrDefault((sessionId, topic))?.GetValueOrDefault(step)?.Values.AsEnumerable() ?? []));
    }

    public ValueTask<long?> FindStepAsync(string sessionId, string topic, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_steps.GetValueOrDefault((sessionId, topic))?.Keys.Last());
    }

    public ValueTask RemoveAsync(string sessionId, string topic, long step, int rank, string nonce, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_steps.GetValueOrDefault((sessionId, topic)) is not { } steps
                || steps.GetValueOrDefault(step) is not { } ranks) return ValueTask.CompletedTask;
            if (ranks.GetValueOrDefault(rank).Contribution?.Nonce == nonce) ranks.Remove(rank);
            // Groups are named by callers: of a step that nobody waits for nothing may be left.
            if (ranks.Count == 0) steps.Remove(step);
            if (steps.Count == 0) _steps.Remove((sessionId, topic));
        }
        return ValueTask.CompletedTask;
    }

    public ValueTask ForgetAsync(string sessionId, string topic, long step, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_steps.TryGetValue((sessionId, topic), out var steps)) return ValueTask.CompletedTask;
            foreach (var over in steps.Keys.TakeWhile(known => known <= step).ToList()) steps.Remove(over);
            if (steps.Count == 0) _steps.Remove((sessionId, topic));
        }
        return ValueTask.CompletedTask;
    }

    private List<StoredContribution> Aged(IEnumerable<(StoredContribution Contribution, long AddedAt)> kept) =>
        [.. kept.Select(one => one.Contribution with { Age = time.GetElapsedTime(one.AddedAt) })];
}

/// <summary>Keeps keys as long as the process lives.</summary>
internal sealed class MemoryKeyStore : IKeyStore
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, StoredKey> _keys = [];

    public bool IsShared => false;

    public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken)
    {
        lock (_lock) return new([.. _keys.Values.OrderBy(key => key.CreatedAt).ThenBy(key => key.Id, StringComparer.Ordinal)]);
    }

    public ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_keys.TryAdd(key.Id, key));
    }

    public ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_keys.Count == 0 && _keys.TryAdd(key.Id, key));
    }

    public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_keys.TryGetValue(key.Id, out var known)) return new(false);
            _keys[key.Id] = known with { Salt = key.Salt, Hash = key.Hash };
            return new(true);
        }
    }

    public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_keys.Remove(id));
    }
}
