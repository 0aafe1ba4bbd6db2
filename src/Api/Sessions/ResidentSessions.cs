using System.Collections.Concurrent;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

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

    /// <summary>A session has left.</summary>
    public event Action<LayerSession>? Left;

    /// <summary>Bytes of the sessions that are in memory, roughly.</summary>
    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Number of sessions that are in memory.</summary>
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
        (_byName.TryGetValue(nameOrId, out var session) || _byId.TryGetValue(nameOrId, out session)) && scope.Contains(session.Current.Name);

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

    /// <summary>Lets a session leave.</summary>
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
