namespace BnService.Api.Storage;

/// <summary>A session as a store keeps it: who it is, how new, and its state as bytes whose meaning the store does not know.</summary>
/// <param name="Id">Identifier; never used again.</param>
/// <param name="Name">Name; unique, and no other session's id.</param>
/// <param name="Kind">Kind of the layer, for listing.</param>
/// <param name="Version">Version of the state.</param>
/// <param name="CreatedAt">When the session was created.</param>
/// <param name="State">The encoded state.</param>
public sealed record StoredSession(
    string Id, string Name, string Kind, long Version, DateTimeOffset CreatedAt, ReadOnlyMemory<byte> State);

/// <summary>Which sessions to list, newest first.</summary>
/// <param name="Prefix">Beginning of their names, or null.</param>
/// <param name="Kind">Their kind, or null.</param>
/// <param name="Limit">The most to return.</param>
/// <param name="After">The last session of the page before, or null for the first page.</param>
public sealed record SessionQuery(string? Prefix, string? Kind, int Limit, SessionPosition? After);

/// <summary>A place in the order of creation.</summary>
/// <param name="CreatedAt">When the session there was created.</param>
/// <param name="Id">Its id, which orders sessions of the same instant.</param>
public readonly record struct SessionPosition(DateTimeOffset CreatedAt, string Id) : IComparable<SessionPosition>
{
    /// <inheritdoc/>
    public int CompareTo(SessionPosition other) =>
        CreatedAt.CompareTo(other.CreatedAt) is var order and not 0 ? order : string.CompareOrdinal(Id, other.Id);
}

/// <summary>
/// Keeps sessions. Changes are optimistic: they name the version they started from and fail if another one is stored.
/// What a call has answered is as durable as the engine is.
/// </summary>
public interface ISessionStore
{
    /// <summary>Stores a new session; false if its name or id is another's name or id.</summary>
    ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken);

    /// <summary>The session with a name or, if there is none, with an id; null if there is none either.</summary>
    ValueTask<StoredSession?> FindAsync(string nameOrId, CancellationToken cancellationToken);

    /// <summary>Replaces a session's state; false if its stored version is not <paramref name="expectedVersion"/> or it is gone.</summary>
    ValueTask<bool> TryUpdateAsync(StoredSession session, long expectedVersion, CancellationToken cancellationToken);

    /// <summary>Deletes a session; false if its stored version is not <paramref name="expectedVersion"/> or it is gone.</summary>
    ValueTask<bool> TryDeleteAsync(string id, long expectedVersion, CancellationToken cancellationToken);

    /// <summary>A page of sessions, newest first.</summary>
    ValueTask<IReadOnlyList<StoredSession>> ListAsync(SessionQuery query, CancellationToken cancellationToken);

    /// <summary>Number of sessions.</summary>
    ValueTask<long> CountAsync(CancellationToken cancellationToken);
}
