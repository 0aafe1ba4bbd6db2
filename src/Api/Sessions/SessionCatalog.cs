using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Problems;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>Finds, creates, changes and deletes sessions: between the calls, which see states, and the store, which sees bytes and versions.</summary>
internal sealed class SessionCatalog(
    ISessionStore store, RetainedSteps retained, IOptions<LimitOptions> limits, IOptions<ResidencyOptions> sessions, TimeProvider time)
    : ICommits
{
    private const int PageOfAll = 1000;

    private readonly ConcurrentDictionary<string, LayerSession> _byId = new();
    private readonly ConcurrentDictionary<string, LayerSession> _byName = new();
    private long _residentBytes;

    /// <summary>Creates a session.</summary>
    /// <param name="name">Its name, or null for its id.</param>
    /// <param name="labels">Its labels.</param>
    /// <param name="options">Its layer's options; valid.</param>
    /// <param name="convention">The convention that they were sent in, or null.</param>
    /// <param name="fill">The layer's first state from its initial one, or null for that itself.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<SessionRecord> CreateAsync(
        string? name, IReadOnlyDictionary<string, string> labels, NormalizerOptions options, AppliedConvention? convention,
        Func<LayerState, LayerState>? fill, CancellationToken cancellationToken)
    {
        RequireFeatures(options.NumFeatures);
        if (await store.CountAsync(cancellationToken) >= limits.Value.MaxSessions)
            throw new ProblemException(ProblemCode.LimitReached, $"there are {limits.Value.MaxSessions} sessions, as many as Limits:MaxSessions allows");
        var now = time.GetUtcNow();
        var id = Guid.CreateVersion7(now).ToString("N");
        var layer = LayerState.Create(options);
        if (fill is not null) layer = fill(layer) with { Version = layer.Version };
        RequireFeatures(layer.Features);
        var record = new SessionRecord(id, name ?? id, labels, now, now, layer) { Convention = convention };
        Charge(record.Bytes);
        if (!await store.TryInsertAsync(SessionEncoding.Encode(record), cancellationToken))
        {
            Charge(-record.Bytes);
            throw new ProblemException(ProblemCode.SessionExists, $"name '{record.Name}' is taken; choose another");
        }
        return record;
    }

    /// <summary>The session with a name or id.</summary>
    /// <exception cref="ProblemException">There is none.</exception>
    public async ValueTask<LayerSession> GetAsync(string nameOrId, CancellationToken cancellationToken) =>
        await FindAsync(nameOrId, cancellationToken) ?? throw NotFound(nameOrId);

    /// <summary>The session with a name or id, or null.</summary>
    public async ValueTask<LayerSession?> FindAsync(string nameOrId, CancellationToken cancellationToken)
    {
        if (_byName.TryGetValue(nameOrId, out var session) || _byId.TryGetValue(nameOrId, out session)) return session;
        if (await store.FindAsync(nameOrId, cancellationToken) is not { } stored) return null;
        session = _byId.GetOrAdd(stored.Id, _ => new LayerSession(SessionEncoding.Decode(stored)));
        _byName.TryAdd(stored.Name, session);
        // Deleted between finding it and remembering it: without a second look it would be served for ever.
        if (await store.FindAsync(stored.Id, cancellationToken) is null)
        {
            Forget(session);
            return null;
        }
        return session;
    }

    /// <summary>How a batch of a shape is normalized by a layer, and the layer sized for it.</summary>
    /// <exception cref="ProblemException">It would take more statistics than a session may have: refused before any are allocated.</exception>
    public (NormalizationPlan Plan, LayerState Layer) PlanFor(Shape shape, LayerState layer)
    {
        var plan = NormalizationPlan.ForBatch(shape, layer.Options);
        if (plan.Reduction == Reduction.Channels) RequireFeatures(plan.Statistics);
        else if (plan.Statistics > limits.Value.MaxStatistics)
        {
            throw new ProblemException(ProblemCode.LimitReached,
                $"a batch has at most {limits.Value.MaxStatistics} statistics (Limits:MaxStatistics), x of shape {shape} has {plan.Statistics}");
        }
        return (plan, layer.SizedFor(plan));
    }

    /// <summary>A page of sessions, newest first.</summary>
    public async Task<IReadOnlyList<SessionRecord>> ListAsync(SessionQuery query, CancellationToken cancellationToken)
    {
        var page = await store.ListAsync(query, cancellationToken);
        return [.. page.Select(stored => _byId.TryGetValue(stored.Id, out var session) ? session.Current : SessionEncoding.Decode(stored))];
    }

    /// <summary>Every session, newest first.</summary>
    public async IAsyncEnumerable<SessionRecord> AllAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        SessionPosition? after = null;
        while (true)
        {
            var page = await ListAsync(new SessionQuery(null, null, PageOfAll, after), cancellationToken);
            foreach (var session in page) yield return session;
            if (page.Count < PageOfAll) yield break;
            after = new SessionPosition(page[^1].CreatedAt, page[^1].Id);
        }
    }

    /// <summary>What has passed through a session on this node; null where nothing has.</summary>
    public SessionTraffic? TrafficOf(SessionRecord session) => _byId.GetValueOrDefault(session.Id)?.Traffic;

    /// <summary>Changes a session's state; see <see cref="CommitQueue.AddAsync"/>.</summary>
    /// <param name="session">The session.</param>
    /// <param name="change">New state from old; the same state if there is nothing to change. Throws to refuse.</param>
    /// <param name="cancellationToken">Ends waiting; a change that waits is made all the same.</param>
    /// <returns>The state after the change.</returns>
    public Task<SessionRecord> ChangeAsync(
        LayerSession session, Func<SessionRecord, SessionRecord> change, CancellationToken cancellationToken) =>
        session.Commits.AddAsync(change, this).WaitAsync(cancellationToken);

    /// <inheritdoc/>
    SessionRecord ICommits.Accept(SessionRecord next)
    {
        RequireFeatures(next.Layer.Features);
        return next with { UpdatedAt = time.GetUtcNow() };
    }

    /// <inheritdoc/>
    async Task<bool> ICommits.TryStoreAsync(SessionRecord current, SessionRecord next)
    {
        var growth = next.Bytes - current.Bytes;
        Charge(growth);
        try
        {
            if (await store.TryUpdateAsync(SessionEncoding.Encode(next), current.Layer.Version, CancellationToken.None)) return true;
        }
        catch
        {
            Charge(-growth);
            throw;
        }
        Charge(-growth);
        return false;
    }

    /// <inheritdoc/>
    async Task ICommits.RefreshAsync(LayerSession session)
    {
        var stored = await store.FindAsync(session.Id, CancellationToken.None);
        if (stored?.Id != session.Id) throw NotFound(session.Current.Name);
        session.Publish(SessionEncoding.Decode(stored));
    }

    /// <summary>Deletes a session and the steps it retains.</summary>
    /// <param name="session">The session.</param>
    /// <param name="check">Throws to refuse, given the version that would be deleted.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task DeleteAsync(LayerSession session, Action<long> check, CancellationToken cancellationToken)
    {
        while (true)
        {
            var stored = await store.FindAsync(session.Id, cancellationToken);
            if (stored?.Id != session.Id) throw NotFound(session.Current.Name);
            check(stored.Version);
            if (!await store.TryDeleteAsync(stored.Id, stored.Version, cancellationToken)) continue;
            Charge(-SessionEncoding.Decode(stored).Bytes);
            Forget(session);
            retained.Drop(stored.Id);
            return;
        }
    }

    private void Forget(LayerSession session)
    {
        session.MarkGone();
        _byId.TryRemove(new KeyValuePair<string, LayerSession>(session.Id, session));
        _byName.TryRemove(new KeyValuePair<string, LayerSession>(session.Current.Name, session));
    }

    private void Charge(long bytes)
    {
        var total = Interlocked.Add(ref _residentBytes, bytes);
        if (bytes <= 0 || total <= sessions.Value.MaxResidentBytes) return;
        Interlocked.Add(ref _residentBytes, -bytes);
        throw new ProblemException(ProblemCode.LimitReached,
            $"the states of all sessions would take {total} bytes; Sessions:MaxResidentBytes allows {sessions.Value.MaxResidentBytes}");
    }

    private void RequireFeatures(int features)
    {
        if (features > limits.Value.MaxFeatures)
            throw new ProblemException(ProblemCode.LimitReached, $"a session has at most {limits.Value.MaxFeatures} features (Limits:MaxFeatures), got {features}");
    }

    private static ProblemException NotFound(string nameOrId) =>
        new(ProblemCode.SessionNotFound, $"there is no session '{Excerpt.Of(nameOrId, 128)}'");
}
