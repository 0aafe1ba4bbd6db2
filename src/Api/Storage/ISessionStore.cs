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

    /// <summary>
    /// Deletes a session with all that belongs to it; false if its state is not the <paramref name="expected"/> one or it is gone.
    /// </summary>
    ValueTask<bool> TryDeleteAsync(string id, StoredVersion expected, CancellationToken cancellationToken);

    /// <summary>A page of sessions, newest first.</summary>
    ValueTask<IReadOnlyList<StoredHeader>> ListAsync(SessionQuery query, CancellationToken cancellationToken);

    /// <summary>Number of sessions: of an owner, or with null of all.</summary>
    ValueTask<long> CountAsync(string? owner, CancellationToken cancellationToken);

    /// <summary>
    /// What is stored of each owner: states, snapshots, and remembered answers of more than <see cref="StoredAnswer.LargeBytes"/>.
    /// </summary>
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
    ValueTask<bool> TryForgetAnswerAsync(string sessionId, string topic, string key, StoredVersion expected,
        CancellationToken cancellationToken) =>
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

/// <summary>What a rank contributes to a step that several ranks make together.</summary>
/// <param name="Rank">The rank.</param>
/// <param name="WorldSize">Number of ranks, as this one says.</param>
/// <param name="Nonce">Tells this contribution from any other one of the rank.</param>
/// <param name="Content">What it contributes, as bytes whose meaning the store does not know.</param>
internal sealed record StoredContribution(int Rank, int WorldSize, string Nonce, ReadOnlyMemory<byte> Content)
{
    /// <summary>
    /// How long it has been there, by the store's clock and no node's: those of two nodes need not agree. Zero where it is not stored yet.
    /// </summary>
    public TimeSpan Age { get; init; }
}

/// <summary>
/// Where the ranks of a step meet, on whatever node each of them is. Kept until the step is over; lost with the process where no other one
/// could look.
/// </summary>
internal interface IContributions
{
    /// <summary>Adds a contribution, unless the rank has made one to the step already.</summary>
    /// <returns>All contributions to the step by their ranks, the one that the rank has made among them.</returns>
    ValueTask<IReadOnlyList<StoredContribution>> AddAsync(
        string sessionId, string topic, long step, StoredContribution contribution, CancellationToken cancellationToken);

    /// <summary>All contributions to a step by their ranks.</summary>
    ValueTask<IReadOnlyList<StoredContribution>> FindAsync(string sessionId, string topic, long step, CancellationToken cancellationToken);

    /// <summary>The newest step of a topic that somebody has contributed to; null if there is none.</summary>
    ValueTask<long?> FindStepAsync(string sessionId, string topic, CancellationToken cancellationToken);

    /// <summary>Takes a contribution back; nothing where it is another one's or gone.</summary>
    ValueTask RemoveAsync(string sessionId, string topic, long step, int rank, string nonce, CancellationToken cancellationToken);

    /// <summary>Forgets the contributions to a step that is over, and to those before it.</summary>
    ValueTask ForgetAsync(string sessionId, string topic, long step, CancellationToken cancellationToken);
}

/// <summary>A key as a store keeps it: enough to recognize the key, and not the key.</summary>
/// <param name="Id">Names the key; a part of it, and no secret.</param>
/// <param name="Name">What the key is called.</param>
/// <param name="Role">What its holder may do.</param>
/// <param name="Prefix">Beginning of the names of the sessions that its holder sees; null for all.</param>
/// <param name="CreatedAt">When the key was created.</param>
/// <param name="Salt">What was hashed together with the secret.</param>
/// <param name="Hash">The hash of both.</param>
public sealed record StoredKey(
    string Id, string Name, string Role, string? Prefix, DateTimeOffset CreatedAt, ReadOnlyMemory<byte> Salt, ReadOnlyMemory<byte> Hash);

/// <summary>Keeps the keys of the service's callers, beside the sessions and as durably.</summary>
public interface IKeyStore
{
    /// <summary>Whether other processes may change what is stored.</summary>
    bool IsShared { get; }

    /// <summary>All keys, oldest first; of a damaged one what can be read.</summary>
    ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken);

    /// <summary>Stores a new key; false if there is one with its id.</summary>
    ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken);

    /// <summary>Stores a key where there is none of any kind, and nobody stores another one in the same moment; false otherwise.</summary>
    ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken);

    /// <summary>Replaces the salt and the hash of a key; false if it is gone.</summary>
    ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken);

    /// <summary>Deletes a key; false if it is gone.</summary>
    ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken);
}

/// <summary>What has lately passed through a session.</summary>
/// <param name="SessionId">The session.</param>
/// <param name="Node">The node that has seen it.</param>
/// <param name="Content">What it was, as bytes whose meaning the store does not know.</param>
internal sealed record StoredTraffic(string SessionId, string Node, ReadOnlyMemory<byte> Content);

/// <summary>
/// Keeps what has lately passed through sessions, besides their states: nothing depends on it, and it may be a moment late.
/// </summary>
internal interface ITrafficStore
{
    /// <summary>Replaces what a node has kept of sessions; of those that are gone nothing is kept.</summary>
    /// <param name="traffic">What there is of each session.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    /// <exception cref="StorageUnavailableException">It cannot be written now.</exception>
    ValueTask SaveTrafficAsync(IReadOnlyList<StoredTraffic> traffic, CancellationToken cancellationToken);

    /// <summary>What is kept of a session, by any node.</summary>
    /// <exception cref="StorageUnavailableException">It cannot be read now.</exception>
    ValueTask<IReadOnlyList<ReadOnlyMemory<byte>>> FindTrafficAsync(string sessionId, CancellationToken cancellationToken);
}

/// <summary>
/// The store cannot do what it was asked to, now: the disk is full, the database is away. Nothing has changed, unless the message says that
/// this is not known.
/// </summary>
/// <param name="message">What is wrong.</param>
/// <param name="cause">The engine's own word for it, or null.</param>
public sealed class StorageUnavailableException(string message, Exception? cause) : Exception(message, cause);

/// <summary>The store cannot be used at all: the start ends with this.</summary>
/// <param name="message">Names the file or the database, and says why.</param>
public sealed class StorageUnusableException(string message) : Exception(message)
{
    /// <summary>Whether that is because another process has it for itself.</summary>
    public bool IsInUse { get; init; }
}

/// <summary>The store holds as much as it may. Nothing has changed.</summary>
/// <param name="message">Names the limit.</param>
public sealed class StorageFullException(string message) : Exception(message);
