using System.Collections.Concurrent;
using BnService.Api.Hosting.Memory;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

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
    /// <param name="nameOrId">Its name or id.</param>
    /// <param name="mayJoin">Whether a read that has begun before will do.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    /// <exception cref="Errors.ProblemException">There is no room for it.</exception>
    /// <exception cref="DamagedStateException">It is not as it was written.</exception>
    public async ValueTask<FoundState?> FindAsync(string nameOrId, bool mayJoin, CancellationToken cancellationToken)
    {
        if (await store.FindAsync(nameOrId, MemoryAdmission.SmallBytes, cancellationToken) is not { } found) return null;
        if (found.Withheld == 0) return Decoded(found);
        var (read, isJoined) = await LargeAsync(
            mayJoin ? found.Id : null, found.Withheld, most => store.FindAsync(found.Id, most, CancellationToken.None), session => session.Withheld,
            Decoded, cancellationToken);
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
        return isJoined && !(await store.FindSnapshotVersionsAsync([session.Id], cancellationToken))[session.Id].Contains(version) ? null : read;

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

    private async Task<T?> ReadAsync<TStored, T>(long bytes, Func<long, ValueTask<TStored?>> find, Func<TStored, long> withheld, Func<TStored, T> decode)
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
/// <param name="Summary">What a list shows of it.</param>
/// <param name="Header">What was said of the session.</param>
/// <param name="Layer">The state.</param>
internal sealed record FrozenState(SnapshotSummary Summary, StateHeader Header, LayerState Layer);
