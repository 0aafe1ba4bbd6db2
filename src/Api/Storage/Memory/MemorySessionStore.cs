namespace BnService.Api.Storage.Memory;

/// <summary>Keeps sessions as long as the process lives.</summary>
internal sealed class MemorySessionStore : ISessionStore
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, StoredSession> _byId = [];
    private readonly Dictionary<string, string> _idByName = [];
    private readonly SortedSet<SessionPosition> _order = [];

    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (IsTaken(session.Name) || IsTaken(session.Id)) return new(false);
            _byId.Add(session.Id, session);
            _idByName.Add(session.Name, session.Id);
            _order.Add(Position(session));
            return new(true);
        }
    }

    public ValueTask<StoredSession?> FindAsync(string nameOrId, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_byId.GetValueOrDefault(_idByName.GetValueOrDefault(nameOrId, nameOrId)));
    }

    public ValueTask<bool> TryUpdateAsync(StoredSession session, long expectedVersion, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(session.Id)?.Version != expectedVersion) return new(false);
            _byId[session.Id] = session;
            return new(true);
        }
    }

    public ValueTask<bool> TryDeleteAsync(string id, long expectedVersion, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(id) is not { } session || session.Version != expectedVersion) return new(false);
            _byId.Remove(id);
            _idByName.Remove(session.Name);
            _order.Remove(Position(session));
            return new(true);
        }
    }

    public ValueTask<IReadOnlyList<StoredSession>> ListAsync(SessionQuery query, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            var older = query.After is { } after && _order.Count > 0 && _order.Min.CompareTo(after) <= 0
                ? _order.GetViewBetween(_order.Min, after).Reverse().SkipWhile(position => position == after)
                : query.After is null ? _order.Reverse() : [];
            return new(older
                .Select(position => _byId[position.Id])
                .Where(session => query.Prefix is null || session.Name.StartsWith(query.Prefix, StringComparison.Ordinal))
                .Where(session => query.Kind is null || session.Kind == query.Kind)
                .Take(query.Limit)
                .ToList());
        }
    }

    public ValueTask<long> CountAsync(CancellationToken cancellationToken)
    {
        lock (_lock) return new(_byId.Count);
    }

    private bool IsTaken(string nameOrId) => _idByName.ContainsKey(nameOrId) || _byId.ContainsKey(nameOrId);

    private static SessionPosition Position(StoredSession session) => new(session.CreatedAt, session.Id);
}
