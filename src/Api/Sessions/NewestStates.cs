using System.Collections.Concurrent;
using BnService.Api.Errors;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>How new a state has to be, where other nodes may have stored a newer one.</summary>
internal enum Freshness
{
    /// <summary>As new as the last time it was looked at, which is not long ago.</summary>
    Recent,

    /// <summary>As new as when the call began.</summary>
    Newest,
}

/// <summary>
/// Keeps the states in memory as new as the store's. What another node has stored is asked for, by its version alone; notifications make
/// that come sooner. The store's state is the truth, also where it is older than what is known here or another one of the same version: a
/// database goes back where a standby takes over that has not got the last commits, or where a backup is restored. If the store is
/// unreachable, calls that may have a recent state are served what is known, and no others.
/// </summary>
internal sealed partial class NewestStates : IDisposable
{
    /// <summary>How long who may have a recent state waits for the newest one.</summary>
    public static readonly TimeSpan PatienceForRecent = TimeSpan.FromMilliseconds(250);

    private static readonly TimeSpan PatienceForWatchers = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan PatienceForVersion = TimeSpan.FromSeconds(2), PauseForVersion = TimeSpan.FromMilliseconds(10);

    private readonly ISessionStore _store;
    private readonly ResidentSessions _resident;
    private readonly StateReads _reads;
    private readonly TimeSpan _refresh;
    private readonly RetainedSteps _retained;
    private readonly CommitMeter _meter;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;

    public NewestStates(
        ISessionStore store, ResidentSessions resident, StateReads reads, RetainedSteps retained, CommitMeter meter,
        IOptions<StorageOptions> options, TimeProvider time, ILogger<NewestStates> logger)
    {
        (_store, _resident, _reads, _retained, _meter, _time, _logger) = (store, resident, reads, retained, meter, time, logger);
        _refresh = TimeSpan.FromMilliseconds(options.Value.RefreshMs);
        _store.Changed += Notice;
    }

    /// <summary>The session with a name or id; null where there is none.</summary>
    public async ValueTask<LayerSession?> FindAsync(string nameOrId, Freshness freshness, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (_resident.Find(nameOrId) is not { } session) return await LoadAsync(nameOrId, cancellationToken);
            var isRecent = freshness == Freshness.Recent;
            if (!_store.IsShared || (isRecent && !session.IsOutdated && _time.GetElapsedTime(session.KnownAt) < _refresh)) return session;
            if (await (isRecent ? IsThereAsync(session, cancellationToken) : TryRefreshAsync(session, cancellationToken))) return session;
        }
    }

    /// <summary>Whether the store has been asked for long in vain what the newest state of a session is.</summary>
    public bool HasLost(LayerSession session) =>
        _store.IsShared && _time.GetElapsedTime(session.ConfirmedAt) > PatienceForWatchers + _refresh;

    /// <summary>Waits for a version that has been stored elsewhere.</summary>
    /// <exception cref="ProblemException">There is no such version.</exception>
    public async Task RequireVersionAsync(LayerSession session, long least, CancellationToken cancellationToken)
    {
        var begun = _time.GetTimestamp();
        while (_store.IsShared && session.Current.Layer.Version < least && _time.GetElapsedTime(begun) < PatienceForVersion)
        {
            if (!await TryRefreshAsync(session, cancellationToken)) break;
            if (session.Current.Layer.Version < least) await Task.Delay(PauseForVersion, _time, cancellationToken);
        }
        if (session.Current.Layer.Version >= least) return;
        throw new ProblemException(ProblemCode.VersionConflict,
            $"Bn-Min-Version asks for version {least} or newer, the session is at version {session.Current.Layer.Version}");
    }

    /// <summary>Takes over what the store has; false, and the session is forgotten, where it is gone.</summary>
    /// <exception cref="StorageUnavailableException">The store cannot be asked.</exception>
    public async Task<bool> TryRefreshAsync(LayerSession session, CancellationToken cancellationToken)
    {
        var (now, notices, known) = (_time.GetTimestamp(), session.Notices, session.Current);
        var version = await _store.FindVersionAsync(session.Id, cancellationToken);
        // What was read for somebody else may be older than what this call has seen.
        for (var mayJoin = true; version is { } there && !there.Is(known.Stored) && !there.Is(session.Current.Stored); mayJoin = false)
        {
            known = session.Current;
            var found = await _reads.FindAsync(session.Id, mayJoin, cancellationToken);
            if (found?.Record.Id == session.Id) TakeOver(session, known, found);
            else if (found?.IsJoined != true) version = null;
            if (found?.IsJoined != true) break;
        }
        if (version is null)
        {
            Forget(session);
            return false;
        }
        session.KnownAt = session.ConfirmedAt = now;
        session.Know(notices);
        return true;
    }

    /// <summary>Forgets a session that has been deleted, also where it has left memory and come back since the caller found it.</summary>
    public void Forget(LayerSession session)
    {
        foreach (var gone in (LayerSession?[])[session, _resident.Peek(session.Id)])
        {
            if (gone is null) continue;
            gone.MarkGone();
            _resident.Remove(gone);
        }
    }

    public void Dispose() => _store.Changed -= Notice;

    // False where the session is known to be gone. The question goes on when nobody waits for it any more; who comes while another one has
    // been waited for in vain does not ask again.
    private async Task<bool> IsThereAsync(LayerSession session, CancellationToken cancellationToken)
    {
        var now = _time.GetTimestamp();
        var earlier = session.Question;
        if (earlier is { Answer.IsCompleted: false } && _time.GetElapsedTime(earlier.AskedAt, now) >= PatienceForRecent) return true;
        var asking = TryRefreshAsync(session, CancellationToken.None);
        if (earlier is not { Answer.IsCompleted: false }) session.Question = new(asking, now);
        try
        {
            return await asking.WaitAsync(PatienceForRecent, _time, cancellationToken);
        }
        catch (Exception exception) when (exception is StorageUnavailableException or TimeoutException)
        {
            session.KnownAt = _time.GetTimestamp();
            return true;
        }
    }

    private async ValueTask<LayerSession?> LoadAsync(string nameOrId, CancellationToken cancellationToken)
    {
        if (await _reads.FindAsync(nameOrId, mayJoin: true, cancellationToken) is not { } found) return null;
        var session = _resident.Add(found.Record);
        // Changed or deleted between finding it and remembering it: without a second look it would be served for ever.
        return await TryRefreshAsync(session, cancellationToken) ? session : null;
    }

    private void Notice(string id, long version)
    {
        if (_resident.Peek(id) is not { } session) return;
        // Gone, or about to be asked for when it is used next.
        if (version == 0) Forget(session);
        else session.Notice();
    }

    private void TakeOver(LayerSession session, SessionRecord known, FoundState found)
    {
        var record = found.Record;
        if (!session.TryReplace(known, record)) session.Publish(record);
        else if (found.Stored.Follows(known.Stored) is not true and var follows)
        {
            // What was frozen under a version may be another state of that version.
            session.Snapshots.Clear();
            if (follows == false) GoBack(session, known, record);
        }
        _resident.Measure(session);
    }

    private void GoBack(LayerSession session, SessionRecord lost, SessionRecord stored)
    {
        _retained.Drop(session.Id);
        session.Traffic.ForgetAfter(stored.Layer.Version);
        _meter.WentBack();
        LogBack(_logger, session.Id, lost.Layer.Version, stored.Layer.Version);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message =
        "The database has gone back: of session {Session} this node had version {Version}, which is not among the stored ones; "
        + "it goes on with the stored version {Stored}")]
    private static partial void LogBack(ILogger logger, string session, long version, long stored);
}

/// <summary>
/// Brings states from the store within the memory budget. A small one comes at once; of a large one first comes how large it is, and it is
/// read when there is room for it. Those who ask for the same one meanwhile wait for the same read.
/// </summary>
internal sealed class StateReads(ISessionStore store, MemoryAdmission admission)
{
    // The bytes, and the arrays that are made of them.
    private const int Copies = 2;

    private readonly ConcurrentDictionary<string, Task<object?>> _underWay = new();

    /// <summary>The session with a name or id; null where there is none.</summary>
    /// <exception cref="Errors.ProblemException">There is no room for it.</exception>
    /// <exception cref="DamagedStateException">It is not as it was written.</exception>
    public async ValueTask<FoundState?> FindAsync(string nameOrId, bool mayJoin, CancellationToken cancellationToken)
    {
        if (await store.FindAsync(nameOrId, MemoryAdmission.SmallBytes, cancellationToken) is not { } found) return null;
        if (found.Withheld == 0) return Decoded(found);
        var (read, isJoined) = await LargeAsync(
            mayJoin ? found.Id : null, found.Withheld, most => store.FindAsync(found.Id, most, CancellationToken.None),
            session => session.Withheld, Decoded, cancellationToken);
        return read is null ? null : read with { IsJoined = isJoined };

        static FoundState Decoded(StoredSession session)
        {
            var record = SessionEncoding.Decode(session);
            return new(session with { State = default }, record, IsJoined: false);
        }
    }

    /// <summary>A snapshot of a session; null where there is none of the version.</summary>
    /// <inheritdoc cref="FindAsync"/>
    public async ValueTask<FrozenState?> FindSnapshotAsync(LayerSession session, long version, CancellationToken cancellationToken)
    {
        if (await store.FindSnapshotAsync(session.Id, version, MemoryAdmission.SmallBytes, cancellationToken) is not { } found) return null;
        if (found.Withheld == 0) return Decoded(found);
        var (read, isJoined) = await LargeAsync(
            $"{session.Id} {version}", found.Withheld, most => store.FindSnapshotAsync(session.Id, version, most, CancellationToken.None),
            snapshot => snapshot.Withheld, Decoded, cancellationToken);
        // It stays as it is, but may have been deleted before this call began.
        if (!isJoined) return read;
        return (await store.FindSnapshotVersionsAsync([session.Id], cancellationToken))[session.Id].Contains(version) ? read : null;

        FrozenState Decoded(StoredSnapshot snapshot)
        {
            var (header, layer) = SessionEncoding.DecodeLayer(snapshot, session.Current.Name);
            return new(SessionEncoding.DecodeSummary(snapshot), header, layer);
        }
    }

    private async Task<(T? Found, bool IsJoined)> LargeAsync<TStored, T>(
        string? key, long bytes, Func<long, ValueTask<TStored?>> find, Func<TStored, long> withheld, Func<TStored, T> decode,
        CancellationToken cancellationToken)
        where TStored : class
        where T : class
    {
        // Whoever has begun it may go, and the others wait on.
        var mine = new TaskCompletionSource<object?>(TaskCreationOptions.RunContinuationsAsynchronously);
        var read = key is null ? mine.Task : _underWay.GetOrAdd(key, mine.Task);
        if (read == mine.Task) _ = RunAsync();
        return ((T?)await read.WaitAsync(cancellationToken), read != mine.Task);

        async Task RunAsync()
        {
            try
            {
                mine.SetResult(await ReadAsync(bytes, find, withheld, decode));
            }
            catch (Exception exception)
            {
                mine.SetException(exception);
                // Perhaps nobody waits for it any more.
                _ = mine.Task.Exception;
            }
            finally
            {
                if (key is not null) _underWay.TryRemove(new(key, mine.Task));
            }
        }
    }

    private async Task<T?> ReadAsync<TStored, T>(
        long bytes, Func<long, ValueTask<TStored?>> find, Func<TStored, long> withheld, Func<TStored, T> decode)
        where TStored : class
        where T : class
    {
        using var account = new MemoryAccount(admission.Budget);
        while (true)
        {
            // What is larger than the budget can be read as well, by itself.
            await admission.ReserveAsync(account, Math.Min(Copies * bytes, admission.Budget.Limit / 2), CancellationToken.None);
            if (await find(bytes) is not { } found) return null;
            // It may have grown meanwhile.
            if ((bytes = withheld(found)) == 0) return decode(found);
        }
    }
}

/// <summary>A session that has come from the store.</summary>
/// <param name="Stored">As it is stored, without its arrays.</param>
/// <param name="Record">As it is used.</param>
/// <param name="IsJoined">Whether it was read for somebody else, perhaps before it was asked for here.</param>
internal sealed record FoundState(StoredSession Stored, SessionRecord Record, bool IsJoined);

/// <summary>A snapshot that has come from the store.</summary>
internal sealed record FrozenState(SnapshotSummary Summary, StateHeader Header, LayerState Layer);
