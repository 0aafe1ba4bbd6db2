namespace BnService.Api.Sessions;

/// <summary>
/// A session in use: one reference to its newest state. Readers take it without a lock; a change is published only when the store has it.
/// </summary>
internal sealed class LayerSession
{
    private SessionRecord _current;
    private volatile bool _isGone;

    /// <param name="record">The state that is stored.</param>
    public LayerSession(SessionRecord record) => (_current, Commits) = (record, new CommitQueue(this));

    /// <summary>The newest state.</summary>
    public SessionRecord Current => Volatile.Read(ref _current);

    /// <summary>Identifier of the session.</summary>
    public string Id => Current.Id;

    /// <summary>The changes that wait to be made.</summary>
    public CommitQueue Commits { get; }

    /// <summary>What has passed through the session on this node: gone with it.</summary>
    public SessionTraffic Traffic { get; } = new();

    /// <summary>Whether the session has been deleted: what is retained of it from here on would be retained for nobody.</summary>
    public bool IsGone => _isGone;

    /// <summary>Marks the session as deleted.</summary>
    public void MarkGone() => _isGone = true;

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
