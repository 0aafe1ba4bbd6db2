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
    private volatile bool _isGone;
    private long _noticed;

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

    /// <summary>A question to the store whether this state is the newest one; null before the first.</summary>
    public StoreQuestion? Question { get; set; }

    /// <summary>Whether a version that is not here is known to be stored.</summary>
    public bool IsOutdated => Volatile.Read(ref _noticed) > Current.Layer.Version;

    /// <summary>Whether the session has been deleted: what is retained of it from here on would be retained for nobody.</summary>
    public bool IsGone => _isGone;

    /// <summary>Marks the session as deleted.</summary>
    public void MarkGone() => _isGone = true;

    /// <summary>Another node has stored a version.</summary>
    public void Notice(long version) => Volatile.Write(ref _noticed, version);

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
