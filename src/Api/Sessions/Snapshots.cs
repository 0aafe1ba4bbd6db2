using System.Globalization;
using System.Runtime.CompilerServices;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using BnService.Api.Storage;
using BnService.Core.Layers;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>What a list shows of a snapshot.</summary>
internal sealed record SnapshotSummary(long Version, DateTimeOffset FrozenAt, string? Description, long BatchesTracked)
{
    /// <summary>Whether nothing but its version can be read.</summary>
    public bool IsDamaged { get; init; }
}

/// <summary>States that are frozen under their versions: inference can use one while training goes on.</summary>
internal sealed class Snapshots(
    ISessionStore store, StateReads reads, SessionCatalog catalog, SessionLists lists, ResidentSessions resident, LargeWrites large,
    StoredBytes bytes, IOptions<LimitOptions> limits, IOptions<StorageOptions> storage, TimeProvider time)
{
    // Of each session so many are kept in memory: a few are in use, and the others are looked at once.
    private const int MostInMemory = 8;

    private readonly TimeSpan _refresh = TimeSpan.FromMilliseconds(storage.Value.RefreshMs);

    /// <summary>Freezes the newest state; where it is frozen already, that is all there is to do.</summary>
    /// <returns>The snapshot, and whether it is new.</returns>
    public async Task<(SnapshotSummary Snapshot, bool IsNew)> CreateAsync(
        LayerSession session, string? description, Action<long> check, CancellationToken cancellationToken)
    {
        var current = session.Current;
        check(current.Layer.Version);
        var existing = await store.ListSnapshotsAsync(session.Id, cancellationToken);
        if (existing.FirstOrDefault(snapshot => snapshot.Version == current.Layer.Version) is { } same)
            return (Intact(session, SessionEncoding.DecodeSummary(same)), false);
        if (existing.Count >= limits.Value.MaxSnapshots)
        {
            throw new ProblemException(ProblemCode.LimitReached,
                $"session '{current.Name}' has {existing.Count} snapshots, as many as Limits:MaxSnapshots allows; delete some");
        }
        using var turn = await large.EnterAsync(current.Writer, current.ResidentBytes, cancellationToken);
        var snapshot = SessionEncoding.EncodeSnapshot(current, time.GetUtcNow(), description);
        using var room = await bytes.TakeAsync(current.Owner, snapshot.Size, cancellationToken);
        RequestDeadline.Lift();
        if (await store.TryInsertSnapshotAsync(snapshot, cancellationToken))
        {
            room.Keep();
            return (SessionEncoding.DecodeSummary(snapshot), true);
        }
        // Somebody else has frozen it at the same time, or the session is gone.
        var other = await store.FindSnapshotAsync(session.Id, current.Layer.Version, 0, cancellationToken)
            ?? throw new ProblemException(ProblemCode.SessionNotFound, $"there is no session '{current.Name}'");
        return (Intact(session, SessionEncoding.DecodeSummary(other)), false);
    }

    public async Task<IReadOnlyList<SnapshotSummary>> ListAsync(LayerSession session, CancellationToken cancellationToken) =>
        [.. (await store.ListSnapshotsAsync(session.Id, cancellationToken)).Select(SessionEncoding.DecodeSummary)];

    /// <summary>Every session that a caller sees with the versions of its snapshots, newest first.</summary>
    public async IAsyncEnumerable<(SessionSummary Session, IEnumerable<long> Versions)> AllAsync(
        SessionScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var page in lists.AllAsync(scope, cancellationToken))
        {
            var versions = await store.FindSnapshotVersionsAsync([.. page.Select(session => session.Id)], cancellationToken);
            foreach (var session in page) yield return (session, versions[session.Id]);
        }
    }

    /// <summary>A snapshot with its state.</summary>
    /// <exception cref="ProblemException">There is none of the version.</exception>
    public async Task<(SnapshotSummary Snapshot, LayerState Layer)> GetAsync(
        LayerSession session, long version, CancellationToken cancellationToken) =>
        await reads.FindSnapshotAsync(session, version, cancellationToken) is { } frozen
            ? (Intact(session, frozen.Summary), frozen.Layer)
            : throw NotFound(session, version);

    /// <summary>The state of a snapshot, from memory where it is there.</summary>
    /// <exception cref="ProblemException">There is none of the version.</exception>
    public async ValueTask<LayerState> LayerAsync(LayerSession session, long? version, CancellationToken cancellationToken)
    {
        if (version is not { } wanted) return session.Current.Layer;
        // What is frozen stays as it is; only whether it is there can change, where another node deletes it.
        var isKnown = session.Snapshots.TryGetValue(wanted, out var known);
        if (isKnown && (!store.IsShared || time.GetElapsedTime(known.KnownAt) < _refresh)) return known.Layer;
        var now = time.GetTimestamp();
        try
        {
            // What is known is not read again, and not waited for long.
            var layer = !isKnown ? (await reads.FindSnapshotAsync(session, wanted, cancellationToken))?.Layer
                : await store.FindSnapshotAsync(session.Id, wanted, 0, cancellationToken).AsTask()
                    .WaitAsync(NewestStates.PatienceForRecent, time, cancellationToken) is null ? null
                : known.Layer;
            if (layer is null)
            {
                session.Snapshots.TryRemove(wanted, out _);
                throw NotFound(session, wanted);
            }
            known = (layer, now);
        }
        catch (Exception exception) when (isKnown && exception is (StorageUnavailableException or TimeoutException))
        {
            known = known with { KnownAt = now };
        }
        while (session.Snapshots.Count >= MostInMemory && !session.Snapshots.ContainsKey(wanted))
            session.Snapshots.TryRemove(session.Snapshots.OrderBy(snapshot => snapshot.Value.KnownAt).FirstOrDefault().Key, out _);
        session.Snapshots[wanted] = known;
        // Deleted between finding it and remembering it: without a second look it would be served for ever.
        if (!store.IsShared && !(await store.FindSnapshotVersionsAsync([session.Id], cancellationToken))[session.Id].Contains(wanted))
        {
            session.Snapshots.TryRemove(wanted, out _);
            throw NotFound(session, wanted);
        }
        resident.Measure(session);
        return known.Layer;
    }

    /// <summary>Deletes a snapshot.</summary>
    /// <exception cref="ProblemException">There is none of the version.</exception>
    public async Task DeleteAsync(LayerSession session, long version, CancellationToken cancellationToken)
    {
        using var turn = await large.EnterAsync(session.Current.Writer, session.Current.ResidentBytes, cancellationToken);
        RequestDeadline.Lift();
        var isDeleted = await store.TryDeleteSnapshotAsync(session.Id, version, cancellationToken);
        // The session may have left memory and come back since the caller found it.
        foreach (var known in (LayerSession?[])[session, resident.Peek(session.Id)])
        {
            known?.Snapshots.TryRemove(version, out _);
            known?.Traffic.ForgetInferencesOf(version.ToString(CultureInfo.InvariantCulture));
        }
        if (!isDeleted) throw NotFound(session, version);
        bytes.Free(session.Current.Owner, 0, 0);
    }

    /// <summary>Makes the state of a snapshot the session's newest one, under a version of its own.</summary>
    /// <exception cref="ProblemException">There is none of the version.</exception>
    public async Task<SessionRecord> RestoreAsync(
        LayerSession session, long version, Action<long> check, CancellationToken cancellationToken)
    {
        if (await reads.FindSnapshotAsync(session, version, cancellationToken) is not { Header: var header, Layer: var layer })
            throw NotFound(session, version);
        return await catalog.ChangeAsync(session, record =>
        {
            check(record.Layer.Version);
            // Labels are not the state's; but where those of the session are lost, it gets back those of then.
            if (record.Damage == Damage.Header) record = record with { Labels = header.Labels, Convention = header.Convention };
            return record with { Layer = layer with { Version = record.Layer.Version + 1 } };
        }, cancellationToken);
    }

    private static SnapshotSummary Intact(LayerSession session, SnapshotSummary snapshot) =>
        snapshot.IsDamaged ? throw SessionEncoding.DamagedSnapshot(session.Current.Name, snapshot.Version) : snapshot;

    private static ProblemException NotFound(LayerSession session, long version) =>
        new(ProblemCode.VersionNotFound, $"session '{session.Current.Name}' has no snapshot of version {version}");
}
