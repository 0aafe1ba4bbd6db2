using System.Collections.Concurrent;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// How many sessions there are, of all and of each key: counted in the store once in a while and by what happens here in between, since
/// counting is not free: once in a while as long as something has happened during the count, which may be in it or not, and always where
/// other nodes create sessions too. The limits are kept to what is unknown in that time.
/// </summary>
internal sealed class SessionCount(ISessionStore store, IOptions<LimitOptions> limits, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    private readonly Tally _all = new(null);
    private readonly ConcurrentDictionary<string, Tally> _ofKeys = new();

    /// <summary>Takes the place of another session.</summary>
    /// <returns>The place, which is given back where it is not kept.</returns>
    /// <exception cref="ProblemException">There are as many sessions as allowed.</exception>
    public async ValueTask<Place> TakeAsync(string? keyId, CancellationToken cancellationToken)
    {
        var place = new Place(1);
        try
        {
            await TakeAsync(_all, limits.Value.MaxSessions, "there are", nameof(LimitOptions.MaxSessions));
            if (keyId is null) return place;
            var mostOfKey = limits.Value.MaxSessionsPerKey;
            await TakeAsync(OfKey(keyId), mostOfKey, $"key '{keyId}' has created", nameof(LimitOptions.MaxSessionsPerKey));
            return place;
        }
        catch
        {
            place.Dispose();
            throw;
        }

        async ValueTask TakeAsync(Tally tally, int most, string whose, string limit)
        {
            if (IsOutdated(tally)) await CountAsync(tally, cancellationToken);
            // At the limit only the store knows.
            if (tally.Number >= most) await CountAsync(tally, cancellationToken);
            if (place.TryAdd(tally, most)) return;
            throw new ProblemException(ProblemCode.LimitReached, $"{whose} {most} sessions, as many as Limits:{limit} allows");
        }
    }

    /// <summary>How many there are, as far as that is known here; null before anybody has counted.</summary>
    public long? Known => _all.IsKnown ? Math.Max(_all.Stored, 0) : null;

    /// <summary>Counts where that was never done, or too long ago to tell what other nodes have done since.</summary>
    public ValueTask FreshenAsync(CancellationToken cancellationToken) =>
        IsOutdated(_all) ? new ValueTask(CountAsync(_all, cancellationToken)) : ValueTask.CompletedTask;

    /// <summary>A session is going to be deleted.</summary>
    /// <returns>Its place, which it leaves where that is kept.</returns>
    public Place Leave(string? keyId)
    {
        var place = new Place(-1);
        place.Add(_all);
        if (keyId is not null) place.Add(OfKey(keyId));
        return place;
    }

    private Tally OfKey(string keyId) => _ofKeys.GetOrAdd(keyId, id => new Tally(id));

    private bool IsOutdated(Tally tally) =>
        !tally.IsKnown || ((store.IsShared || !tally.IsExact) && time.GetElapsedTime(tally.CountedAt) > Interval);

    private async Task CountAsync(Tally tally, CancellationToken cancellationToken)
    {
        // The ends first: what has begun by then and not ended is on its way.
        var (ended, begun, before) = (tally.Ended, tally.Begun, tally.Since);
        var counted = await store.CountAsync(tally.KeyId, cancellationToken);
        tally.Know(counted - before, time.GetTimestamp(), isExact: ended == begun && tally.Begun == begun);
    }

    /// <summary>A place for a session that is being created, or of one that is being deleted.</summary>
    internal sealed class Place(long change) : IDisposable
    {
        private readonly List<Tally> _tallies = new(2);

        /// <summary>Counts in a tally what becomes of it.</summary>
        public void Add(Tally tally)
        {
            tally.Begin(change);
            _tallies.Add(tally);
        }

        /// <summary>Counts it in a tally if there is room for it.</summary>
        public bool TryAdd(Tally tally, int most)
        {
            Add(tally);
            // Begun first and looked at then: of several at once none passes the limit, though one too many may be refused.
            return tally.Number <= most;
        }

        /// <summary>The store has the change.</summary>
        public void Keep()
        {
            // First counted twice, so that nobody finds room in between.
            foreach (var tally in _tallies) tally.Change(change);
        }

        public void Dispose()
        {
            foreach (var tally in _tallies) tally.End(change);
        }
    }

    /// <summary>A number of sessions: as the store has counted them, what has happened since, and those that are being changed.</summary>
    internal sealed class Tally(string? keyId)
    {
        private long _counted, _since, _countedAt, _beingCreated, _begun, _ended;
        private volatile bool _isKnown, _isExact;

        public string? KeyId => keyId;

        public bool IsKnown => _isKnown;

        /// <summary>Whether nothing has happened while the store counted, which may be counted twice otherwise.</summary>
        public bool IsExact => _isExact;

        public long CountedAt => Volatile.Read(ref _countedAt);

        public long Since => Interlocked.Read(ref _since);

        /// <summary>Changes that have begun so far, and those of them that are over.</summary>
        public long Begun => Interlocked.Read(ref _begun);

        /// <inheritdoc cref="Begun"/>
        public long Ended => Interlocked.Read(ref _ended);

        /// <summary>Those that are stored.</summary>
        public long Stored => Interlocked.Read(ref _counted) + Since;

        /// <summary>Those that are stored or being created.</summary>
        public long Number => Stored + Interlocked.Read(ref _beingCreated);

        public void Begin(long change)
        {
            Interlocked.Increment(ref _begun);
            if (change > 0) Interlocked.Add(ref _beingCreated, change);
        }

        public void Change(long sessions) => Interlocked.Add(ref _since, sessions);

        public void End(long change)
        {
            if (change > 0) Interlocked.Add(ref _beingCreated, -change);
            Interlocked.Increment(ref _ended);
        }

        public void Know(long counted, long countedAt, bool isExact)
        {
            Interlocked.Exchange(ref _counted, counted);
            Volatile.Write(ref _countedAt, countedAt);
            (_isExact, _isKnown) = (isExact, true);
        }
    }
}
