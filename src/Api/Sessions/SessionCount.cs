using BnService.Api.Hosting;
using BnService.Api.Hosting.Problems;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// How many sessions there are: counted in the store once in a while and by what happens here in between, since counting is not free. Where
/// other nodes create sessions too, the limit is kept to what they have created in that time.
/// </summary>
internal sealed class SessionCount(ISessionStore store, IOptions<LimitOptions> limits, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    private long _counted, _since, _countedAt;
    private volatile bool _isKnown;

    /// <summary>Refuses another session where there are as many as allowed.</summary>
    /// <exception cref="ProblemException">There are.</exception>
    public async Task RequireRoomAsync(CancellationToken cancellationToken)
    {
        if (IsOutdated) await CountAsync(cancellationToken);
        // At the limit only the store knows.
        if (Number >= limits.Value.MaxSessions) await CountAsync(cancellationToken);
        if (Number >= limits.Value.MaxSessions)
            throw new ProblemException(ProblemCode.LimitReached, $"there are {limits.Value.MaxSessions} sessions, as many as Limits:MaxSessions allows");
    }

    /// <summary>How many there are, as far as that is known here; null before anybody has counted.</summary>
    public long? Known => _isKnown ? Math.Max(Number, 0) : null;

    /// <summary>Counts where that was never done, or too long ago to tell what other nodes have done since.</summary>
    public ValueTask FreshenAsync(CancellationToken cancellationToken) => IsOutdated ? new ValueTask(CountAsync(cancellationToken)) : ValueTask.CompletedTask;

    /// <summary>One session more.</summary>
    public void Created() => Interlocked.Increment(ref _since);

    /// <summary>One session less.</summary>
    public void Deleted() => Interlocked.Decrement(ref _since);

    private bool IsOutdated => !_isKnown || (store.IsShared && time.GetElapsedTime(Volatile.Read(ref _countedAt)) > Interval);

    private long Number => Interlocked.Read(ref _counted) + Interlocked.Read(ref _since);

    private async Task CountAsync(CancellationToken cancellationToken)
    {
        var before = Interlocked.Read(ref _since);
        var counted = await store.CountAsync(cancellationToken);
        // What has happened meanwhile may be counted twice, and is until the next time.
        Interlocked.Exchange(ref _counted, counted - before);
        if (store.IsShared) Volatile.Write(ref _countedAt, time.GetTimestamp());
        _isKnown = true;
    }
}
