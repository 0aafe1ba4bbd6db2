namespace BnService.Api.Storage;

/// <summary>
/// Keeps sessions. Changes are optimistic: they name the version they started from and fail if another one is stored.
/// What a call has answered is as durable as the engine is.
/// </summary>
public interface ISessionStore
{
    /// <summary>Whether other processes may change what is stored: then what is known of a session may be out of date.</summary>
    bool IsShared { get; }

    /// <summary>Whether it has been opened: before that nothing can be stored or found.</summary>
    bool IsOpen { get; }

    /// <summary>
    /// Raised, as soon as that is known here, when another process has stored a version of a session (its id and the version, 0 where it
    /// was deleted). May be late, and may be missing altogether.
    /// </summary>
    event Action<string, long>? Changed;

    /// <summary>Stores a new session; false if its name or id is another's name or id.</summary>
    ValueTask<bool> TryInsertAsync(StoredSession session, CancellationToken cancellationToken);

    /// <summary>The session with a name or, if there is none, with an id; null if there is none either.</summary>
    /// <param name="nameOrId">Its name or id.</param>
    /// <param name="most">A state of more bytes is not read; <see cref="StoredSession.Withheld"/> tells how many they are.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    ValueTask<StoredSession?> FindAsync(string nameOrId, long most, CancellationToken cancellationToken);

    /// <summary>The name of the session with a name or with an id, without a look at its state; null if there is none.</summary>
    /// <param name="name">The name; null for none.</param>
    /// <param name="id">The id.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    ValueTask<string?> FindNameAsync(string? name, string id, CancellationToken cancellationToken);

    /// <summary>The version of a session that is stored; null if it is gone.</summary>
    ValueTask<StoredVersion?> FindVersionAsync(string id, CancellationToken cancellationToken);

    /// <summary>Replaces a session's state and remembers answers, both or nothing.</summary>
    /// <param name="session">The state; only answers are stored where its version is the expected one.</param>
    /// <param name="expected">The state that it was made from.</param>
    /// <param name="answers">Answers to remember, oldest first.</param>
    /// <param name="cancellationToken">Ends waiting; the change may be made all the same.</param>
    /// <returns>False if the stored state is another one, the session is gone or the key of an answer is taken.</returns>
    ValueTask<bool> TryUpdateAsync(
        StoredSession session, StoredVersion expected, IReadOnlyList<StoredAnswer> answers, CancellationToken cancellationToken);

    /// <summary>Deletes a session with all that belongs to it; false if its state is not the <paramref name="expected"/> one or it is gone.</summary>
    ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken);

    /// <summary>A page of sessions, newest first.</summary>
    ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken);

    /// <summary>Number of sessions: of an owner, or with null of all.</summary>
    ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken);

    /// <summary>What is stored of each owner: states, snapshots, and remembered answers of more than <see cref="StoredAnswer.LargeBytes"/>.</summary>
    ValueTask<IReadOnlyList<StoredUsage>> MeasureAsync(CancellationToken cancellationToken);

    /// <summary>The place of the last one of a number of sessions, newest first; null where there are not so many.</summary>
    /// <param name="after">The session before the first of them, or null for the newest.</param>
    /// <param name="number">How many.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    ValueTask<SessionPosition?> FindPositionAsync(SessionPosition? after, int number, CancellationToken cancellationToken);

    /// <summary>Number of sessions that a list has on all its pages.</summary>
    ValueTask<long> CountListedAsync(SessionQuery query, CancellationToken cancellationToken);

    /// <summary>What is remembered of an answer; null if that is nothing.</summary>
    ValueTask<StoredAnswer?> FindAnswerAsync(string sessionId, string topic, string key, CancellationToken cancellationToken);

    /// <summary>Forgets an answer whose state is not stored any more; false if the session's state is not the expected one.</summary>
    /// <remarks>There is none where nobody else can set the store back.</remarks>
    ValueTask<bool> TryForgetAnswerAsync(string sessionId, string topic, string key, StoredVersion expected, CancellationToken cancellationToken) =>
        new(true);

    /// <summary>The newest answer of a topic; null if there is none.</summary>
    ValueTask<StoredAnswer?> FindLastAnswerAsync(string sessionId, string topic, CancellationToken cancellationToken);

    /// <summary>Stores a snapshot; false if the session is gone or has one of this version.</summary>
    ValueTask<bool> TryInsertSnapshotAsync(StoredSnapshot snapshot, CancellationToken cancellationToken);

    /// <summary>A session's snapshot of a version; null if there is none.</summary>
    /// <param name="sessionId">Whose it is.</param>
    /// <param name="version">Its version.</param>
    /// <param name="most">A state of more bytes is not read; <see cref="StoredSnapshot.Withheld"/> tells how many they are.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    ValueTask<StoredSnapshot?> FindSnapshotAsync(string sessionId, long version, long most, CancellationToken cancellationToken);

    /// <summary>The snapshots of a session without their arrays, newest first.</summary>
    ValueTask<IReadOnlyList<StoredSnapshot>> ListSnapshotsAsync(string sessionId, CancellationToken cancellationToken);

    /// <summary>The versions of the snapshots of some sessions, by the ids of those that have any, newest first.</summary>
    ValueTask<ILookup<string, long>> FindSnapshotVersionsAsync(IReadOnlyCollection<string> sessionIds, CancellationToken cancellationToken);

    /// <summary>Deletes a snapshot; false if there is none.</summary>
    ValueTask<bool> TryDeleteSnapshotAsync(string sessionId, long version, CancellationToken cancellationToken);
}
