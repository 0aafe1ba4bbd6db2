using BnService.Api.Storage;
using BnService.Core.Layers;

namespace BnService.Api.Sessions;

/// <summary>A session with how it is.</summary>
/// <param name="Session">The session.</param>
/// <param name="Health">How its layer is; null where that was not asked for, or the session is damaged.</param>
internal sealed record SessionWithHealth(SessionSummary Session, LayerHealth? Health);

/// <summary>A page of sessions with how they are.</summary>
/// <param name="Sessions">The sessions, newest first.</param>
/// <param name="Next">Where the next page begins; null on the last one.</param>
internal sealed record OverviewPage(IReadOnlyList<SessionWithHealth> Sessions, SessionPosition? Next)
{
    /// <summary>About what they take in memory.</summary>
    public long Bytes { get; init; }
}

/// <summary>Pages of sessions with how they are, and of those alone that are so.</summary>
internal sealed class SessionOverview(SessionCatalog catalog, SessionLists lists, LookingTurns turns, TimeProvider time)
{
    /// <summary>The most sessions that one call looks at: whatever is looked for, it is answered soon, and the next call goes on from there.</summary>
    public const int MostLookedAt = 5000;

    /// <summary>
    /// About the most bytes that a page takes in memory. One with more ends early, and has a next one: a thousand sessions with all the labels
    /// that they can have are sixty times as long as a thousand without.
    /// </summary>
    public const int MostBytes = 4 << 20;

    // So many headers at once that also the longest take no more than a page.
    private const int AtOnce = 50;

    private const int BytesOfSession = 2 << 10, BytesOfLabel = 100;

    /// <summary>A page of the sessions that a caller sees.</summary>
    /// <param name="scope">The sessions that the caller sees.</param>
    /// <param name="query">Which ones, and how many at most.</param>
    /// <param name="health">Only those that are so; null for all.</param>
    /// <param name="withHealth">Whether to say how they are.</param>
    /// <param name="turn">The turn of who looks through many sessions: taken where it has to be.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<OverviewPage> ListAsync(
        SessionScope scope, SessionQuery query, Health? health, bool withHealth, LookingTurns.LookingTurn turn, CancellationToken cancellationToken)
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
                if (found.Count == query.Limit || lookedAt == MostLookedAt || bytes >= MostBytes) return new OverviewPage(found, after) { Bytes = bytes };
                var seen = withHealth || health is not null ? await HealthOfAsync(session, cancellationToken) : new SessionWithHealth(session, null);
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
