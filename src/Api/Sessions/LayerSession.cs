using System.Collections.Concurrent;
using BnService.Core.Layers;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// A session in use: one reference to its newest state. Readers take it without a lock; a change is published only when the store has it.
/// </summary>
internal sealed class LayerSession
{
    /// <summary>What <see cref="ResidentSessions"/> has taken account of.</summary>
    public long MeasuredBytes;

    private SessionRecord _current;
    private long _notices, _known;

    public LayerSession(SessionRecord record) => _current = record;

    public SessionRecord Current => Volatile.Read(ref _current);

    public string Id => Current.Id;

    public CommitQueue Commits { get; } = new();

    /// <summary>What has passed through the session on this node: gone with it.</summary>
    public SessionTraffic Traffic { get; } = new();

    /// <summary>Snapshots that were used, by their versions, and when each was known to exist.</summary>
    public ConcurrentDictionary<long, (LayerState Layer, long KnownAt)> Snapshots { get; } = new();

    /// <summary>Memory that the session takes, roughly.</summary>
    public long Bytes => Current.ResidentBytes * (1 + Snapshots.Count) + Traffic.Bytes;

    /// <summary>The last use, by a count of all uses.</summary>
    public long LastUse { get; set; }

    /// <summary>When this state was known to be the newest one, in timestamps of the clock.</summary>
    public long KnownAt { get; set; }

    /// <summary>When the store last said so itself, in timestamps of the clock.</summary>
    public long ConfirmedAt { get; set; }

    /// <summary>A question to the store whether this state is the newest one; null before the first.</summary>
    public StoreQuestion? Question { get; set; }

    /// <summary>How often another node has told that it has stored a version.</summary>
    public long Notices => Interlocked.Read(ref _notices);

    /// <summary>Whether another node has stored a version since the store was last asked.</summary>
    public bool IsOutdated => Notices != Interlocked.Read(ref _known);

    /// <summary>Whether the session has been deleted: what is retained of it from here on would be retained for nobody.</summary>
    public bool IsGone => Traffic.IsGone;

    public void MarkGone() => Traffic.IsGone = true;

    /// <summary>Another node has stored a version, which may be one that there was before: the store knows.</summary>
    public void Notice() => Interlocked.Increment(ref _notices);

    /// <summary>The store has been asked.</summary>
    public void Know(long notices) => Interlocked.Exchange(ref _known, notices);

    /// <summary>Makes what the store has the newest state, whatever its version, unless the state has changed here since.</summary>
    public bool TryReplace(SessionRecord before, SessionRecord stored) =>
        ReferenceEquals(Interlocked.CompareExchange(ref _current, stored, before), before);

    /// <summary>Makes a stored state the newest one, unless a newer one has come meanwhile.</summary>
    public void Publish(SessionRecord stored)
    {
        var current = Current;
        while (stored.Layer.Version > current.Layer.Version)
        {
            var seen = Interlocked.CompareExchange(ref _current, stored, current);
            if (ReferenceEquals(seen, current)) return;
            current = seen;
        }
    }
}

/// <summary>A question to the store.</summary>
internal sealed record StoreQuestion(Task Answer, long AskedAt);

/// <summary>What the changes of one write have made so far.</summary>
internal sealed class Write(LayerSession session, SessionRecord current)
{
    public LayerSession Session => session;

    public SessionRecord Current { get; } = current;

    public SessionRecord State { get; set; } = current;

    public List<StoredReplay> Replays { get; } = [];

    public bool IsNothing => ReferenceEquals(State, Current) && Replays.Count == 0;

    public StoredReplay? Find(AnswerKey key) => Replays.Find(replay => replay.Key.Topic == key.Topic && replay.Key.Key == key.Key);
}

internal abstract class WaitingChange(long addedAt)
{
    public long AddedAt => addedAt;

    /// <summary>Applies it to what the changes before it have made.</summary>
    /// <param name="write">What they have made.</param>
    /// <param name="isAgain">Whether the store has refused the write once: perhaps another node has answered the call.</param>
    public abstract ValueTask ApplyAsync(Write write, bool isAgain);

    public abstract void Finish(LayerSession session);

    public abstract void Fail(Exception exception);
}

/// <summary>The changes of one session that wait, in the order in which they came.</summary>
internal sealed class CommitQueue
{
    private readonly Lock _lock = new();
    private List<WaitingChange> _waiting = [];
    private bool _isRunning;

    /// <summary>Number of changes that wait for those that are being stored.</summary>
    public int Waiting
    {
        get
        {
            lock (_lock) return _waiting.Count;
        }
    }

    public bool IsIdle
    {
        get
        {
            lock (_lock) return !_isRunning;
        }
    }

    /// <summary>Adds a change; true where the queue was idle, and has to be run.</summary>
    public bool Add(WaitingChange change)
    {
        lock (_lock)
        {
            _waiting.Add(change);
            return !_isRunning && (_isRunning = true);
        }
    }

    /// <summary>Takes all that wait; null where nothing does, and the queue is idle from then on.</summary>
    public List<WaitingChange>? Take()
    {
        lock (_lock)
        {
            (var taken, _waiting) = (_waiting, []);
            return (_isRunning = taken.Count > 0) ? taken : null;
        }
    }
}

/// <summary>
/// The sessions that are in memory. Beyond <c>Sessions:MaxResidentBytes</c> those that were not used for the longest time leave it; the
/// store has them, and they come back when they are used.
/// </summary>
internal sealed class ResidentSessions(IOptions<ResidencyOptions> options)
{
    // What remains after some have left: so much has to come before others must.
    private const double Remaining = 0.9;

    private readonly ConcurrentDictionary<string, LayerSession> _byId = new();
    private readonly ConcurrentDictionary<string, LayerSession> _byName = new();
    private readonly Lock _leaving = new();
    private long _bytes, _uses;

    public event Action<LayerSession>? Left;

    /// <summary>Bytes of the sessions that are in memory, roughly.</summary>
    public long Bytes => Interlocked.Read(ref _bytes);

    public int Count => _byId.Count;

    /// <summary>The sessions that are in memory while this goes through them, without holding anybody up.</summary>
    public IEnumerable<LayerSession> All => _byId.Select(entry => entry.Value);

    /// <summary>The session with a name or id, where it is in memory; this is a use of it.</summary>
    public LayerSession? Find(string nameOrId)
    {
        if (!_byName.TryGetValue(nameOrId, out var session) && !_byId.TryGetValue(nameOrId, out session)) return null;
        // Two uses at the same time may count as one: only which ones lie far back matters.
        session.LastUse = ++_uses;
        return session;
    }

    /// <summary>Whether a session with a name or id is in memory and a caller sees it; this is no use of it.</summary>
    public bool Holds(SessionScope scope, string nameOrId) =>
        (_byName.TryGetValue(nameOrId, out var session) || _byId.TryGetValue(nameOrId, out session))
        && scope.Contains(session.Current.Name);

    /// <summary>The session with an id, where it is in memory; this is no use of it.</summary>
    public LayerSession? Peek(string id) => _byId.GetValueOrDefault(id);

    /// <summary>A session that has come from the store, or the one that another call has brought meanwhile.</summary>
    public LayerSession Add(SessionRecord record)
    {
        var session = _byId.GetOrAdd(record.Id, _ => new LayerSession(record) { LastUse = ++_uses });
        session.LastUse = ++_uses;
        _byName.TryAdd(record.Name, session);
        // It may have left before it had a name here: what is found by its name alone would stay for ever.
        if (!ReferenceEquals(Peek(session.Id), session)) Remove(session);
        else Measure(session);
        return session;
    }

    /// <summary>Takes account of what a session takes now, and lets others leave where that is too much.</summary>
    public void Measure(LayerSession session)
    {
        if (!ReferenceEquals(Peek(session.Id), session)) return;
        var bytes = session.Bytes;
        var total = Interlocked.Add(ref _bytes, bytes - Interlocked.Exchange(ref session.MeasuredBytes, bytes));
        // It may have left since it was looked for, and would be counted for ever.
        if (!ReferenceEquals(Peek(session.Id), session)) Remove(session);
        else if (total > options.Value.MaxResidentBytes) LetSomeLeave();
    }

    public void Remove(LayerSession session)
    {
        _byId.TryRemove(new KeyValuePair<string, LayerSession>(session.Id, session));
        _byName.TryRemove(new KeyValuePair<string, LayerSession>(session.Current.Name, session));
        Interlocked.Add(ref _bytes, -Interlocked.Exchange(ref session.MeasuredBytes, 0));
    }

    private void LetSomeLeave()
    {
        // One call does it for all.
        if (!_leaving.TryEnter()) return;
        try
        {
            var target = (long)(Remaining * options.Value.MaxResidentBytes);
            // What waits to be stored is known here alone. A call that still holds one that leaves is to the others as another node is.
            foreach (var session in _byId.Values.Where(session => session.Commits.IsIdle).OrderBy(session => session.LastUse).ToList())
            {
                if (Bytes <= target) return;
                Remove(session);
                Left?.Invoke(session);
            }
        }
        finally
        {
            _leaving.Exit();
        }
    }
}
