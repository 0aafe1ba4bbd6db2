using System.Runtime.CompilerServices;
using BnService.Api.Errors;
using BnService.Api.Hosting.Limits;
using BnService.Api.Storage;
using BnService.Core.Layers;

namespace BnService.Api.Sessions;

/// <summary>
/// Lists of sessions as the store has them. What has to be looked for is looked for in slices, however many sessions there are: each is
/// soon over, and who trains comes in between.
/// </summary>
internal sealed class SessionLists(ISessionStore store, LookingTurns turns, TimeProvider time) : IDisposable
{
    // A header with all labels that it can have takes tens of kilobytes.
    private const int PageOfAll = 50;

    /// <summary>About what a page of <see cref="AllAsync"/> takes while it is read.</summary>
    public const long BytesOfPage = PageOfAll * (48L << 10);

    private static readonly Dictionary<string, string> NoLabels = [];

    // Some milliseconds' work.
    private const int SessionsOfSlice = 2000;

    // Who reads all sessions has a turn for each page: they are many, and none takes long.
    private readonly SemaphoreSlim _paging = new(1);

    /// <summary>A page of the sessions that a caller sees, newest first.</summary>
    public async Task<IReadOnlyList<SessionSummary>> ListAsync(
        SessionScope scope, SessionQuery query, LookingTurns.LookingTurn turn, CancellationToken cancellationToken)
    {
        if (Seen(scope, query) is not { } seen) return [];
        var found = new List<SessionSummary>();
        await foreach (var slice in SlicesAsync(seen, turn, cancellationToken))
        {
            var more = await store.ListAsync(slice with { Limit = query.Limit - found.Count }, cancellationToken);
            found.AddRange(more.Select(SessionEncoding.Summary));
            if (found.Count == query.Limit) break;
        }
        return found;
    }

    /// <summary>Number of sessions that a caller sees on all pages of a list.</summary>
    /// <inheritdoc cref="ListAsync"/>
    public async Task<long> CountAsync(
        SessionScope scope, SessionQuery query, LookingTurns.LookingTurn turn, CancellationToken cancellationToken)
    {
        if (Seen(scope, query) is not { } seen) return 0;
        if (!seen.IsFiltered) return await store.CountAsync(null, cancellationToken);
        var count = 0L;
        await foreach (var slice in SlicesAsync(seen with { After = null }, turn, cancellationToken))
            count += await store.CountListedAsync(slice, cancellationToken);
        return count;
    }

    /// <summary>
    /// Every session that a caller sees in pages, newest first, without their labels: who goes through all of them may take long.
    /// </summary>
    public async IAsyncEnumerable<IReadOnlyList<SessionSummary>> AllAsync(
        SessionScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (SessionPosition? after = null; ;)
        {
            IReadOnlyList<SessionSummary> page;
            // Not while the client takes what it has got.
            await _paging.WaitAsync(cancellationToken);
            try
            {
                using var turn = turns.Of(scope);
                var begun = time.GetTimestamp();
                var found = await ListAsync(scope, new SessionQuery(null, null, PageOfAll, after), turn, cancellationToken);
                page = [.. found.Select(session => session with { Labels = NoLabels })];
                if (page.Count == PageOfAll) await turns.RestAsync(begun, cancellationToken);
            }
            finally
            {
                _paging.Release();
            }
            yield return page;
            if (page.Count < PageOfAll) yield break;
            after = new SessionPosition(page[^1].CreatedAt, page[^1].Id);
        }
    }

    public void Dispose() => _paging.Dispose();

    private static SessionQuery? Seen(SessionScope scope, SessionQuery query) =>
        scope.Prefix is null ? query : scope.Within(query.Prefix ?? "") is { } prefix ? query with { Prefix = prefix } : null;

    // What a query covers, a part at a time.
    private async IAsyncEnumerable<SessionQuery> SlicesAsync(
        SessionQuery query, LookingTurns.LookingTurn turn, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var after = query.After; ;)
        {
            var begun = time.GetTimestamp();
            var last = query.IsFiltered ? await store.FindPositionAsync(after, SessionsOfSlice, cancellationToken) : null;
            yield return query with { After = after, Through = last };
            if (last is null) yield break;
            after = last;
            await turn.TakeAsync(cancellationToken);
            await turns.RestAsync(begun, cancellationToken);
        }
    }
}

/// <summary>A session with how it is.</summary>
internal sealed record SessionWithHealth(SessionSummary Session, LayerHealth? Health);

/// <summary>A page of sessions with how they are.</summary>
internal sealed record OverviewPage(IReadOnlyList<SessionWithHealth> Sessions, SessionPosition? Next)
{
    /// <summary>About what they take in memory.</summary>
    public long Bytes { get; init; }
}

/// <summary>Pages of sessions with how they are, and of those alone that are so.</summary>
internal sealed class SessionOverview(SessionCatalog catalog, SessionLists lists, LookingTurns turns, TimeProvider time)
{
    /// <summary>
    /// The most sessions that one call looks at: whatever is looked for, it is answered soon, and the next call goes on from there.
    /// </summary>
    public const int MostLookedAt = 5000;

    /// <summary>
    /// About the most bytes that a page takes in memory. One with more ends early, and has a next one: a thousand sessions with all the
    /// labels that they can have are sixty times as long as a thousand without.
    /// </summary>
    public const int MostBytes = 4 << 20;

    // So many headers at once that also the longest take no more than a page.
    private const int AtOnce = 50;

    private const int BytesOfSession = 2 << 10, BytesOfLabel = 100;

    public async Task<OverviewPage> ListAsync(
        SessionScope scope, SessionQuery query, Health? health, bool withHealth, LookingTurns.LookingTurn turn,
        CancellationToken cancellationToken)
    {
        if (query.Search is not null || health is not null) await turn.TakeAsync(cancellationToken);
        var (found, lookedAt, after, bytes) = (new List<SessionWithHealth>(), 0, query.After, 0L);
        while (true)
        {
            // One more than needed tells whether there is another page.
            var most = health is null ? Math.Min(query.Limit + 1 - found.Count, AtOnce) : AtOnce;
            var begun = time.GetTimestamp();
            var page = await lists.ListAsync(scope, query with { After = after, Limit = most }, turn, cancellationToken);
            foreach (var session in page)
            {
                if (found.Count == query.Limit || lookedAt == MostLookedAt || bytes >= MostBytes)
                    return new OverviewPage(found, after) { Bytes = bytes };
                var seen = withHealth || health is not null
                    ? await HealthOfAsync(session, cancellationToken)
                    : new SessionWithHealth(session, null);
                if (health is null || seen.Health?.Mark == health)
                {
                    found.Add(seen);
                    bytes += BytesOf(session);
                }
                (after, lookedAt) = (new SessionPosition(session.CreatedAt, session.Id), lookedAt + 1);
            }
            if (page.Count < most) return new OverviewPage(found, null) { Bytes = bytes };
            if (health is not null) await turns.RestAsync(begun, cancellationToken);
        }
    }

    // Null where the session is damaged: how its layer is nobody can tell.
    private async ValueTask<SessionWithHealth> HealthOfAsync(SessionSummary session, CancellationToken cancellationToken)
    {
        if (session.Damage != Damage.None) return new SessionWithHealth(session, null);
        try
        {
            return new SessionWithHealth(session, await catalog.HealthOfAsync(session, cancellationToken));
        }
        catch (DamagedStateException damaged)
        {
            return new SessionWithHealth(session with { Damage = damaged.Remains?.Session.Damage ?? Damage.Arrays }, null);
        }
    }

    // The texts, and what stands around them.
    private static long BytesOf(SessionSummary session)
    {
        long bytes = BytesOfSession;
        foreach (var (key, value) in session.Labels) bytes += BytesOfLabel + ((key.Length + value.Length) * sizeof(char));
        return bytes;
    }
}

/// <summary>
/// Whoever looks through many sessions does so in turn, one of a key and one of all at a time, and rests as long as it has worked: the
/// database and this machine belong to those who train.
/// </summary>
internal sealed class LookingTurns(TimeProvider time) : IDisposable
{
    // Who waits longer is better told to come again.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5), LongestRest = TimeSpan.FromMilliseconds(200);

    private readonly SemaphoreSlim _all = new(1);
    private readonly CallerGates _ofCallers = new(1);

    /// <summary>A turn of a caller's, which has not come yet.</summary>
    public LookingTurn Of(SessionScope scope) => new(this, scope.Caller);

    /// <summary>Rests as long as has been worked.</summary>
    public async Task RestAsync(long begun, CancellationToken cancellationToken)
    {
        var worked = time.GetElapsedTime(begun);
        if (worked > TimeSpan.Zero) await Task.Delay(worked < LongestRest ? worked : LongestRest, time, cancellationToken);
    }

    public void Dispose() => _all.Dispose();

    /// <summary>One turn, from when it is taken until it is disposed.</summary>
    internal sealed class LookingTurn(LookingTurns turns, Caller caller) : IDisposable
    {
        private readonly List<SemaphoreSlim> _held = new(2);

        /// <summary>Waits for the turn, unless it has come already.</summary>
        /// <exception cref="ProblemException">It has not come in time.</exception>
        public async ValueTask TakeAsync(CancellationToken cancellationToken)
        {
            if (_held.Count > 0) return;
            var begun = turns.Now;
            foreach (var gate in (SemaphoreSlim[])[turns._ofCallers.Of(caller), turns._all])
            {
                var left = Patience - turns.Since(begun);
                if (!await gate.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, cancellationToken))
                {
                    throw new ProblemException(ProblemCode.Overloaded,
                        "others look through the sessions, one at a time, and the turn of this call has not come within "
                        + $"{Patience.TotalSeconds:F0} s");
                }
                _held.Add(gate);
            }
        }

        public void Dispose()
        {
            foreach (var gate in _held) gate.Release();
            _held.Clear();
        }
    }

    private long Now => time.GetTimestamp();

    private TimeSpan Since(long begun) => time.GetElapsedTime(begun);
}
