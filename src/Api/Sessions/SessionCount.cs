using System.Collections.Concurrent;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Problems;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// How many sessions there are, of all and of each key: counted in the store once in a while and by what happens here in between, since
/// counting is not free. Where other nodes create sessions too, the limits are kept to what they have created in that time.
/// </summary>
internal sealed class SessionCount(ISessionStore store, IOptions<LimitOptions> limits, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    private readonly Tally _all = new(null);
    private readonly ConcurrentDictionary<string, Tally> _ofKeys = new();

    /// <summary>Takes the place of another session.</summary>
    /// <param name="keyId">The key that it is created with; null where that is none.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    /// <returns>The place, which is given back where it is not kept.</returns>
    /// <exception cref="ProblemException">There are as many sessions as allowed.</exception>
    public async ValueTask<Place> TakeAsync(string? keyId, CancellationToken cancellationToken)
    {
        var place = new Place();
        try
        {
            await TakeAsync(_all, limits.Value.MaxSessions, "there are", nameof(LimitOptions.MaxSessions));
            if (keyId is not null)
                await TakeAsync(OfKey(keyId), limits.Value.MaxSessionsPerKey, $"key '{keyId}' has created", nameof(LimitOptions.MaxSessionsPerKey));
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
            if (!tally.TryTake(most)) throw new ProblemException(ProblemCode.LimitReached, $"{whose} {most} sessions, as many as Limits:{limit} allows");
            place.Taken.Add(tally);
        }
    }

    /// <summary>How many there are, as far as that is known here; null before anybody has counted.</summary>
    public long? Known => _all.IsKnown ? Math.Max(_all.Stored, 0) : null;

    /// <summary>Counts where that was never done, or too long ago to tell what other nodes have done since.</summary>
    public ValueTask FreshenAsync(CancellationToken cancellationToken) => IsOutdated(_all) ? new ValueTask(CountAsync(_all, cancellationToken)) : ValueTask.CompletedTask;

    /// <summary>One session less.</summary>
    /// <param name="keyId">The key that it was created with; null where that was none.</param>
    public void Deleted(string? keyId)
    {
        _all.Add(-1);
        if (keyId is not null) OfKey(keyId).Add(-1);
    }

    private Tally OfKey(string keyId) => _ofKeys.GetOrAdd(keyId, id => new Tally(id));

    private bool IsOutdated(Tally tally) => !tally.IsKnown || (store.IsShared && time.GetElapsedTime(tally.CountedAt) > Interval);

    private async Task CountAsync(Tally tally, CancellationToken cancellationToken)
    {
        var before = tally.Since;
        var counted = await store.CountAsync(tally.KeyId, cancellationToken);
        tally.Know(counted - before, store.IsShared ? time.GetTimestamp() : 0);
    }

    /// <summary>A place for a session that is being created.</summary>
    internal sealed class Place : IDisposable
    {
        /// <summary>Where it is counted.</summary>
        public List<Tally> Taken { get; } = new(2);

        /// <summary>The session is stored.</summary>
        public void Keep()
        {
            // First counted twice, so that nobody finds room in between.
            foreach (var tally in Taken) tally.Add(1);
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            foreach (var tally in Taken) tally.GiveBack();
        }
    }

    /// <summary>A number of sessions: as the store has counted them, what has happened since, and those that are being created.</summary>
    internal sealed class Tally(string? keyId)
    {
        private long _counted, _since, _countedAt, _beingCreated;
        private volatile bool _isKnown;

        public string? KeyId => keyId;

        public bool IsKnown => _isKnown;

        public long CountedAt => Volatile.Read(ref _countedAt);

        public long Since => Interlocked.Read(ref _since);

        /// <summary>Those that are stored.</summary>
        public long Stored => Interlocked.Read(ref _counted) + Since;

        /// <summary>Those that are stored or being created.</summary>
        public long Number => Stored + Interlocked.Read(ref _beingCreated);

        public void Add(long sessions) => Interlocked.Add(ref _since, sessions);

        public bool TryTake(long most)
        {
            // Taken first and looked at then: of several at once none passes the limit, though one too many may be refused.
            Interlocked.Increment(ref _beingCreated);
            if (Number <= most) return true;
            GiveBack();
            return false;
        }

        public void GiveBack() => Interlocked.Decrement(ref _beingCreated);

        public void Know(long counted, long countedAt)
        {
            // What has happened while the store counted may be counted twice, and is until the next time.
            Interlocked.Exchange(ref _counted, counted);
            Volatile.Write(ref _countedAt, countedAt);
            _isKnown = true;
        }
    }
}
