namespace BnService.Api.Storage.Memory;

/// <summary>Keeps sessions as long as the process lives.</summary>
/// <param name="mostBytes">The most bytes to keep.</param>
internal sealed class MemorySessionStore(long mostBytes) : ISessionStore
{
    // What a session and an answer take beside their bytes: names, and the objects around them.
    private const long BytesOfEntry = 1024, BytesOfAnswer = 256;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Entry> _byId = [];
    private readonly Dictionary<string, string> _idByName = [];
    private readonly SortedSet<SessionPosition> _order = [];
    private readonly Dictionary<string, long> _ofOwners = [];
    private long _bytes;

    public bool IsShared => false;

    public bool IsOpen => true;

    public event Action<string, long>? Changed { add { } remove { } }

    public ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (IsTaken(session.Name) || IsTaken(session.Id)) return new(false);
            Take(session.Owner, Size(session));
            _byId.Add(session.Id, new Entry(session with { Writes = Marks(session, default) }));
            _idByName.Add(session.Name, session.Id);
            _order.Add(Position(session));
            return new(true);
        }
    }

    public ValueTask<StoredSession?> FindAsync(string nameOrId, long most, CancellationToken cancellationToken)
    {
        StoredSession? found;
        lock (_lock) found = _byId.GetValueOrDefault(_idByName.GetValueOrDefault(nameOrId, nameOrId))?.Session;
        return new(found?.State.Length > most ? found with { State = default, Withheld = found.State.Length } : found);
    }

    public ValueTask<string?> FindNameAsync(string? name, string id, CancellationToken cancellationToken)
    {
        lock (_lock) return new(name is not null && _idByName.ContainsKey(name) ? name : _byId.GetValueOrDefault(id)?.Session.Name);
    }

    public ValueTask<StoredVersion?> FindVersionAsync(string id, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_byId.GetValueOrDefault(id)?.Session.Stored);
    }

    public ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(session.Id) is not { } entry || !entry.Session.Stored.Is(expected)) return new(false);
            if (answers.Any(answer => entry.Find(answer.Topic, answer.Key) is not null)) return new(false);
            var next = session.Version == expected.Number ? entry.Session : session with { Writes = Marks(session, entry.Session.Writes) };
            Take(next.Owner, Size(next) - Size(entry.Session) + answers.Sum(Size));
            entry.Session = next;
            foreach (var answer in answers) Take(next.Owner, -entry.Add(answer));
            return new(true);
        }
    }

    public ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(id) is not { Session: var session } entry || !session.Stored.Is(expected)) return new(false);
            _byId.Remove(id);
            Take(session.Owner, -Size(session) - entry.BytesBesideState);
            _idByName.Remove(session.Name);
            _order.Remove(Position(session));
            return new(true);
        }
    }

    public ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return new(Range(query.After, query.Through).Where(session => IsListed(session, query)).Take(query.Limit).ToList());
        }
    }

    public ValueTask<long> CountListedAsync(SessionQuery query, CancellationToken cancellationToken)
    {
        lock (_lock) return new(Range(query.After, query.Through).LongCount(session => IsListed(session, query)));
    }

    public ValueTask<SessionPosition?> FindPositionAsync(SessionPosition? after, int number, CancellationToken cancellationToken)
    {
        lock (_lock) return new(Range(after, null).Skip(number - 1).Select(session => (SessionPosition?)Position(session))
            .FirstOrDefault());
    }

    public ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken)
    {
        lock (_lock) return new(owner is null ? _byId.Count : _byId.Values.Count(entry => entry.Session.Owner == owner));
    }

    public ValueTask<IReadOnlyList<StoredUsage>> MeasureAsync(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return new([.. _byId.Values.GroupBy(entry => entry.Session.Owner, (owner, entries) =>
                entries.Aggregate(new StoredUsage(owner, 0, 0),
                (sum, entry) => sum with { Sessions = sum.Sessions + 1,
                    Bytes = sum.Bytes + entry.Session.Size + entry.LargeBytesBesideState }))]);
        }
    }

    public ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_byId.GetValueOrDefault(sessionId)?.Find(topic, key));
    }

    public ValueTask<bool> TryForgetAnswerAsync(
        string sessionId, string topic, string key, StoredVersion expected, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(sessionId) is not { } entry || !entry.Session.Stored.Is(expected)) return new(false);
            _bytes -= entry.Remove(topic, key);
            return new(true);
        }
    }

    public ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken)
    {
        lock (_lock) return new(_byId.GetValueOrDefault(sessionId)?.Last(topic));
    }

    public ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(snapshot.SessionId) is not { } entry || entry.Snapshots.ContainsKey(snapshot.Version)) return new(
                false);
            Take(entry.Session.Owner, BytesOfEntry + snapshot.State.Length);
            entry.Snapshots.Add(snapshot.Version, snapshot);
            return new(true);
        }
    }

    public ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, long most, CancellationToken cancellationToken)
    {
        StoredSnapshot? found;
        lock (_lock) found = _byId.GetValueOrDefault(sessionId)?.Snapshots.GetValueOrDefault(version);
        return new(found?.State.Length > most ? found with { State = default, Withheld = found.State.Length } : found);
    }

    public ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return new(_byId.GetValueOrDefault(sessionId)?.Snapshots.Values
                .Select(snapshot => snapshot with { State = default }).Reverse().ToList() ?? []);
        }
    }

    public ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(
        IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return new(sessionIds
                .SelectMany(id => (_byId.GetValueOrDefault(id)?.Snapshots.Keys.Reverse() ?? [])
                    .Select(version => (Id: id, Version: version)))
                .ToLookup(found => found.Id, found => found.Version));
        }
    }

    public ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_byId.GetValueOrDefault(sessionId) is not { } entry || !entry.Snapshots.Remove(version, out var snapshot)) return new(
                false);
            Take(entry.Session.Owner, -BytesOfEntry - snapshot.State.Length);
            return new(true);
        }
    }

    // No key's sessions take more than are left to all others, so that however many keys take what they can get, there is room for the
    // next.
    private void Take(string? owner, long bytes)
    {
        var (all, own) = (_bytes + bytes, owner is null ? 0 : _ofOwners.GetValueOrDefault(owner) + bytes);
        if (bytes > 0 && (all > mostBytes || own > mostBytes - all))
        {
            var what = all > mostBytes ? $"the states of all sessions would take {all}" : $"the sessions of key '{owner}' would take {own}";
            throw new StorageFullException($"{what} bytes; Sessions:MaxResidentBytes allows {mostBytes} where Storage:Engine is memory" +
                (all > mostBytes ? "" : ", and no key more of them than are left to all others"));
        }
        _bytes = all;
        if (owner is not null && own > 0) _ofOwners[owner] = own;
        else if (owner is not null) _ofOwners.Remove(owner);
    }

    // Newest first.
    private IEnumerable<StoredSession> Range(SessionPosition? after, SessionPosition? through)
    {
        var older = after is { } newest && _order.Count > 0 && _order.Min.CompareTo(newest) <= 0
            ? _order.GetViewBetween(_order.Min, newest).Reverse().SkipWhile(position => position == newest)
            : after is null ? _order.Reverse() : [];
        return older.TakeWhile(position => through is not { } oldest || position.CompareTo(oldest) >= 0)
            .Select(position => _byId[position.Id].Session);
    }

    private static bool IsListed(StoredSession session, SessionQuery query) =>
        (query.Prefix is null || session.Name.StartsWith(query.Prefix, StringComparison.Ordinal))
        && (query.Kind is null || session.Kind == query.Kind)
        && (query.Search is null || session.Name.Contains(query.Search, StringComparison.OrdinalIgnoreCase));

    private static byte[] Marks(StoredSession session, ReadOnlyMemory<byte> before)
    {
        var kept = Math.Min(before.Length, WriteMark.Kept - WriteMark.Length);
        return [.. new WriteMark(session.Version, session.Mark).Bytes, .. before.Span[..kept]];
    }

    private static long Size(StoredAnswer answer) => BytesOfAnswer + answer.Content.Length;

    private static long Size(StoredSession session) => BytesOfEntry + session.Header.Length + session.State.Length;

    private bool IsTaken(string nameOrId) => _idByName.ContainsKey(nameOrId) || _byId.ContainsKey(nameOrId);

    private static SessionPosition Position(StoredSession session) => new(session.CreatedAt, session.Id);

    private sealed class Entry(StoredSession session)
    {
        // By topic, oldest first; no topic has none.
        private readonly Dictionary<string, OrderedDictionary<string, StoredAnswer>> _answers = [];

        // Those of groups by their topics, oldest first.
        private readonly Queue<string> _ofGroups = [];

        public StoredSession Session { get; set; } = session;

        public SortedDictionary<long, StoredSnapshot> Snapshots { get; } = [];

        public StoredAnswer? Find(string topic, string key) => _answers.GetValueOrDefault(topic)?.GetValueOrDefault(key);

        public StoredAnswer? Last(string topic) => _answers.GetValueOrDefault(topic) is { } answers ? answers.GetAt(answers.Count - 1).Value
            : null;

        public long BytesBesideState =>
            Snapshots.Values.Sum(snapshot => BytesOfEntry + snapshot.State.Length) + _answers.Values.Sum(
                answers => answers.Values.Sum(Size));

        public long LargeBytesBesideState => Snapshots.Values.Sum(snapshot => snapshot.Size)
            + _answers.Values.Sum(answers => answers.Values.Sum(answer => answer.CountedBytes));

        // Removes an answer, and tells how many bytes it was.
        public long Remove(string topic, string key)
        {
            if (!_answers.TryGetValue(topic, out var answers) || !answers.Remove(key, out var answer)) return 0;
            if (answers.Count == 0) _answers.Remove(topic);
            return answer.Content.Length;
        }

        // Adds an answer, and tells how many bytes that of the oldest was that had to go.
        public long Add(StoredAnswer answer)
        {
            if (!_answers.TryGetValue(answer.Topic, out var answers)) _answers.Add(answer.Topic, answers = []);
            answers.Add(answer.Key, answer);
            if (answer.IsOfGroup) _ofGroups.Enqueue(answer.Topic);
            else if (answers.Count > StoredAnswer.Kept) return Forget(answer.Topic);
            return _ofGroups.Count > StoredAnswer.KeptOfGroups ? Forget(_ofGroups.Dequeue()) : 0;
        }

        private long Forget(string topic)
        {
            // What is forgotten already is not the oldest any more.
            if (!_answers.TryGetValue(topic, out var answers)) return 0;
            var oldest = answers.GetAt(0).Value;
            answers.RemoveAt(0);
            if (answers.Count == 0) _answers.Remove(topic);
            return Size(oldest);
        }
    }
}
