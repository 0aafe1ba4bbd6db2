using System.Collections.Concurrent;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// How many bytes are stored for each key and in all: states, snapshots and large remembered answers of the sessions that were created with
/// it. Measured in the store once, and again in the background where other nodes write as well or something was deleted; in between what
/// happens here is added. What is stored counts, and not what a session may come to: a new one is next to nothing. So a step is refused
/// only where it makes its session larger, which the first steps of each sort do (statistics, the last batch, the optimizer's buffers),
/// and before it has changed anything; a training that is under way has its bytes already.
/// </summary>
internal sealed class StoredBytes(ISessionStore store, IOptions<LimitOptions> limits, TimeProvider time) : IDisposable
{
    /// <summary>Growth of no more than this passes, and is counted.</summary>
    public const int SmallBytes = 4 << 10;

    private const int PartOfTime = 20;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10), ShortestPause = TimeSpan.FromSeconds(1);

    private readonly Tally _all = new();
    private readonly ConcurrentDictionary<string, Tally> _ofKeys = new();
    private readonly SemaphoreSlim _one = new(1);
    private long _measuredAt, _changes;
    private TimeSpan _took;
    private volatile bool _isKnown, _isExact, _isFreed, _isMeasuring;

    /// <summary>What is known to be stored for a key; null before anybody has measured.</summary>
    public (long Sessions, long Bytes)? Of(string keyId) => !_isKnown ? null
        : _ofKeys.TryGetValue(keyId, out var tally) ? (Math.Max(0, tally.Sessions), Math.Max(0, tally.Bytes)) : (0, 0);

    /// <summary>Takes room for what a write adds.</summary>
    /// <returns>The room, which is given back where it is not kept.</returns>
    /// <exception cref="ProblemException">There is none.</exception>
    public ValueTask<Room> TakeAsync(string? keyId, long bytes, CancellationToken cancellationToken)
    {
        var room = new Room(this, keyId is null ? null : OfKey(keyId), bytes);
        // Begun first and looked at then: of several at once none passes the limit, though one too many may be refused.
        room.Begin();
        return bytes <= SmallBytes ? new(room) : CheckedAsync(keyId, room, cancellationToken);
    }

    private async ValueTask<Room> CheckedAsync(string? keyId, Room room, CancellationToken cancellationToken)
    {
        try
        {
            if (!_isKnown) await MeasureAsync().WaitAsync(cancellationToken);
            else if (!_isMeasuring) _ = FreshenAsync();
            // At the limit only the store knows, which need not be asked each time.
            if (Refusal(keyId, room) is not null && (_isFreed || IsOlderThan(ShortestPause)))
                await MeasureAsync().WaitAsync(cancellationToken);
            return Refusal(keyId, room) is { } refusal ? throw new ProblemException(ProblemCode.LimitReached, refusal) : room;
        }
        catch
        {
            room.Dispose();
            throw;
        }
    }

    private bool IsOlderThan(TimeSpan interval) => !_isMeasuring && time.GetElapsedTime(_measuredAt) > Longer(interval, PartOfTime * _took);

    /// <summary>Something was deleted.</summary>
    /// <param name="keyId">The key that the session was created with.</param>
    /// <param name="sessions">How many sessions went.</param>
    /// <param name="bytes">How many bytes, as far as that is known: the rest is found out by measuring.</param>
    public void Free(string? keyId, int sessions, long bytes)
    {
        foreach (var tally in (Tally?[])[_all, keyId is null ? null : OfKey(keyId)]) tally?.Change(-bytes, -sessions);
        Interlocked.Increment(ref _changes);
        (_isExact, _isFreed) = (false, true);
    }

    /// <summary>Measures where that is due; what is known stands where the store cannot be asked.</summary>
    public async Task FreshenAsync()
    {
        try
        {
            if (!_isKnown || ((store.IsShared || !_isExact) && IsOlderThan(Interval))) await MeasureAsync();
        }
        catch (StorageUnavailableException)
        {
            // Asked again with the next write.
        }
    }

    public void Dispose() => _one.Dispose();

    private Tally OfKey(string keyId) => _ofKeys.GetOrAdd(keyId, _ => new Tally());

    private string? Refusal(string? keyId, Room room)
    {
        var (mostOfKey, most) = (limits.Value.MaxBytesPerKey, limits.Value.MaxStoredBytes);
        return room.OfKey?.Taken > mostOfKey
                ? Refusal($"the sessions of key '{keyId}' take", room.OfKey, mostOfKey, nameof(LimitOptions.MaxBytesPerKey))
            : _all.Taken > most ? Refusal("all sessions take", _all, most, nameof(LimitOptions.MaxStoredBytes))
            : null;

        string Refusal(string whose, Tally tally, long allowed, string limit) =>
            $"{whose} {tally.Taken - room.Bytes} bytes and would take {tally.Taken}, Limits:{limit} allows {allowed}; "
            + "nothing has changed: delete snapshots or sessions";
    }

    // As the store is at this call or later.
    private async Task MeasureAsync()
    {
        var asked = time.GetTimestamp();
        await _one.WaitAsync();
        try
        {
            if (_isKnown && _measuredAt >= asked) return;
            _isMeasuring = true;
            _isFreed = false;
            var (begun, changes) = (time.GetTimestamp(), Interlocked.Read(ref _changes));
            var before = _ofKeys.ToDictionary(entry => entry.Key, entry => entry.Value.Snapshot());
            var ofAll = _all.Snapshot();
            var found = await store.MeasureAsync(CancellationToken.None);
            foreach (var usage in found)
            {
                if (usage.Owner is not null) OfKey(usage.Owner).Correct(before.GetValueOrDefault(usage.Owner), usage.Bytes, usage.Sessions);
            }
            foreach (var (key, then) in before.ExceptBy(found.Select(usage => usage.Owner), entry => entry.Key))
                OfKey(key).Correct(then, 0, 0);
            _all.Correct(ofAll, found.Sum(usage => usage.Bytes), found.Sum(usage => usage.Sessions));
            (_measuredAt, _took) = (begun, time.GetElapsedTime(begun));
            (_isExact, _isKnown) = (changes == Interlocked.Read(ref _changes), true);
        }
        finally
        {
            _isMeasuring = false;
            _one.Release();
        }
    }

    private static TimeSpan Longer(TimeSpan a, TimeSpan b) => a > b ? a : b;

    /// <summary>Room for what is being written.</summary>
    internal readonly struct Room(StoredBytes owner, Tally? ofKey, long bytes) : IDisposable
    {
        public Tally? OfKey => ofKey;

        public long Bytes => bytes;

        /// <summary>It is on its way.</summary>
        public void Begin()
        {
            if (bytes <= 0) return;
            owner._all.Begin(bytes);
            ofKey?.Begin(bytes);
        }

        /// <summary>The store has it.</summary>
        public void Keep(int sessions = 0)
        {
            owner._all.Change(bytes, sessions);
            ofKey?.Change(bytes, sessions);
            Interlocked.Increment(ref owner._changes);
        }

        public void Dispose()
        {
            if (bytes <= 0) return;
            owner._all.Begin(-bytes);
            ofKey?.Begin(-bytes);
        }
    }

    /// <summary>What is stored of somebody, and what is being written.</summary>
    internal sealed class Tally
    {
        private long _bytes, _sessions, _pending;

        public long Bytes => Interlocked.Read(ref _bytes);

        public long Sessions => Interlocked.Read(ref _sessions);

        /// <summary>Bytes that are stored or being stored.</summary>
        public long Taken => Bytes + Interlocked.Read(ref _pending);

        public (long Bytes, long Sessions) Snapshot() => (Bytes, Sessions);

        public void Begin(long bytes) => Interlocked.Add(ref _pending, bytes);

        public void Change(long bytes, int sessions)
        {
            Interlocked.Add(ref _bytes, bytes);
            Interlocked.Add(ref _sessions, sessions);
        }

        /// <summary>Puts what was measured in the place of what was known when that began.</summary>
        public void Correct((long Bytes, long Sessions) then, long bytes, long sessions)
        {
            Interlocked.Add(ref _bytes, bytes - then.Bytes);
            Interlocked.Add(ref _sessions, sessions - then.Sessions);
        }
    }
}
