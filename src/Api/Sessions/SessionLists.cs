using System.Runtime.CompilerServices;
using BnService.Api.Storage;

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
    /// <param name="scope">The sessions that the caller sees.</param>
    /// <param name="query">Which ones, and how many at most.</param>
    /// <param name="turn">Taken where they are not found soon.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<IReadOnlyList<SessionSummary>> ListAsync(
        SessionScope scope, SessionQuery query, LookingTurns.LookingTurn turn, CancellationToken cancellationToken)
    {
        if (Seen(scope, query) is not { } seen) return [];
        var found = new List<SessionSummary>();
        await foreach (var slice in SlicesAsync(seen, turn, cancellationToken))
        {
            found.AddRange((await store.ListAsync(slice with { Limit = query.Limit - found.Count }, cancellationToken)).Select(SessionEncoding.Summary));
            if (found.Count == query.Limit) break;
        }
        return found;
    }

    /// <summary>Number of sessions that a caller sees on all pages of a list.</summary>
    /// <inheritdoc cref="ListAsync"/>
    public async Task<long> CountAsync(SessionScope scope, SessionQuery query, LookingTurns.LookingTurn turn, CancellationToken cancellationToken)
    {
        if (Seen(scope, query) is not { } seen) return 0;
        if (!seen.IsFiltered) return await store.CountAsync(null, cancellationToken);
        var count = 0L;
        await foreach (var slice in SlicesAsync(seen with { After = null }, turn, cancellationToken)) count += await store.CountListedAsync(slice, cancellationToken);
        return count;
    }

    /// <summary>Every session that a caller sees in pages, newest first, without their labels: who goes through all of them may take long.</summary>
    public async IAsyncEnumerable<IReadOnlyList<SessionSummary>> AllAsync(SessionScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
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
                page = [.. (await ListAsync(scope, new SessionQuery(null, null, PageOfAll, after), turn, cancellationToken)).Select(session => session with { Labels = NoLabels })];
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

    /// <inheritdoc/>
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
