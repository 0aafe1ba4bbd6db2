using System.Collections.Concurrent;
using BnService.Core.Layers;

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

    /// <param name="record">The state that is stored.</param>
    public LayerSession(SessionRecord record) => (_current, Commits) = (record, new CommitQueue(this));

    /// <summary>The newest state that is known here.</summary>
    public SessionRecord Current => Volatile.Read(ref _current);

    /// <summary>Identifier of the session.</summary>
    public string Id => Current.Id;

    /// <summary>The changes that wait to be made.</summary>
    public CommitQueue Commits { get; }

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

    /// <summary>Marks the session as deleted.</summary>
    public void MarkGone() => Traffic.IsGone = true;

    /// <summary>Another node has stored a version, which may be one that there was before: the store knows.</summary>
    public void Notice() => Interlocked.Increment(ref _notices);

    /// <summary>The store has been asked.</summary>
    /// <param name="notices">The <see cref="Notices"/> before.</param>
    public void Know(long notices) => Interlocked.Exchange(ref _known, notices);

    /// <summary>Makes what the store has the newest state, whatever its version, unless the state has changed here since.</summary>
    /// <param name="before">The state before the store was asked.</param>
    /// <param name="stored">What the store has.</param>
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
/// <param name="Answer">Ends when it is answered.</param>
/// <param name="AskedAt">When it was asked, in timestamps of the clock.</param>
internal sealed record StoreQuestion(Task Answer, long AskedAt);
