using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// Finds, creates, changes and deletes sessions: between the calls, which see states, and the store, which sees bytes and versions.
/// </summary>
internal sealed class SessionCatalog(
    ISessionStore store, ResidentSessions resident, NewestStates newest, StateReads reads, RetainedSteps retained, SessionCount count,
    Commits commits, LargeWrites large, StoredBytes bytes, SessionActivity activity, IOptions<LimitOptions> limits, TimeProvider time)
{
    public async Task<SessionRecord> CreateAsync(
        SessionScope scope, string? name, IReadOnlyDictionary<string, string> labels, NormalizerOptions options,
        AppliedConvention? convention, Func<LayerState, LayerState>? fill, CancellationToken cancellationToken)
    {
        if (name is not null && !scope.Contains(name))
        {
            throw new ProblemException(ProblemCode.Forbidden,
                $"name must begin with '{scope.Prefix}', the prefix of the key, got '{Excerpt.Of(name, 128)}'");
        }
        Computing.RequireFeatures(limits.Value, options.NumFeatures);
        using var place = await count.TakeAsync(scope.KeyId, cancellationToken);
        var now = time.GetUtcNow();
        var id = Guid.CreateVersion7(now).ToString("N");
        var layer = LayerState.Create(options);
        if (fill is not null) layer = fill(layer) with { Version = layer.Version };
        Computing.RequireFeatures(limits.Value, layer.Features);
        var record = new SessionRecord(id, name ?? scope.Prefix + id, labels, now, now, layer)
        {
            Convention = convention,
            Owner = scope.KeyId,
            Mark = WriteMark.Draw(),
        };
        using var turn = await large.EnterAsync(record.Writer, record.ResidentBytes, cancellationToken);
        var stored = SessionEncoding.Encode(record);
        using var room = await bytes.TakeAsync(record.Owner, record.StoredSize = stored.Size, cancellationToken);
        RequestDeadline.Lift();
        if (!await store.TryInsertAsync(stored, cancellationToken))
            throw new ProblemException(ProblemCode.SessionExists, $"name '{record.Name}' is taken; choose another");
        place.Keep();
        room.Keep(sessions: 1);
        activity.Touch(record);
        return record;
    }

    /// <summary>The session with a name or id, as new as any call before this one has left it on any node.</summary>
    /// <exception cref="ProblemException">There is none.</exception>
    public async ValueTask<LayerSession> GetAsync(SessionScope scope, string nameOrId, CancellationToken cancellationToken) =>
        await FindAsync(scope, nameOrId, cancellationToken) ?? throw NotFound(nameOrId);

    /// <summary>
    /// The session with a name or id, or what stands in for a damaged one, to be deleted or to be given a whole state; null where there
    /// is none.
    /// </summary>
    public async ValueTask<LayerSession?> FindToReplaceAsync(SessionScope scope, string nameOrId, CancellationToken cancellationToken)
    {
        try
        {
            return await FindAsync(scope, nameOrId, cancellationToken);
        }
        catch (DamagedStateException damaged) when (damaged.Remains is not null)
        {
            return new LayerSession(SessionEncoding.StandIn(damaged.Remains));
        }
    }

    /// <summary>The session with a name or id, as new as <see cref="GetAsync"/> has it, or null.</summary>
    public ValueTask<LayerSession?> FindAsync(SessionScope scope, string nameOrId, CancellationToken cancellationToken) =>
        FindAsync(scope, nameOrId, Freshness.Newest, cancellationToken);

    /// <summary>The session with a name or id, perhaps not as new as another node has it (see <c>Storage:RefreshMs</c>).</summary>
    /// <exception cref="ProblemException">There is none, or none as new as that.</exception>
    public async ValueTask<LayerSession> GetRecentAsync(
        SessionScope scope, string nameOrId, long least, CancellationToken cancellationToken) =>
        await FindRecentAsync(scope, nameOrId, least, cancellationToken) ?? throw NotFound(nameOrId);

    /// <summary>The session with a name or id, as new as <see cref="GetRecentAsync"/> has it, or null.</summary>
    public async ValueTask<LayerSession?> FindRecentAsync(
        SessionScope scope, string nameOrId, long least, CancellationToken cancellationToken)
    {
        var session = await FindAsync(scope, nameOrId, Freshness.Recent, cancellationToken);
        if (session?.Current.Layer.Version < least) await newest.RequireVersionAsync(session, least, cancellationToken);
        return session;
    }

    /// <summary>Whether it has not been known for long what has become of a session: its store cannot be asked.</summary>
    public bool HasLost(LayerSession session) => newest.HasLost(session);

    /// <summary>Asks the store for nothing, where others change what it has.</summary>
    /// <exception cref="StorageUnavailableException">It cannot be asked.</exception>
    public async ValueTask RequireStoreAsync(CancellationToken cancellationToken)
    {
        if (store.IsShared) await store.FindVersionAsync("", cancellationToken);
    }

    /// <summary>What has passed through a session on this node; null where nothing has.</summary>
    public SessionTraffic? TrafficOf(SessionSummary session) => resident.Peek(session.Id)?.Traffic;

    /// <summary>
    /// How a session's layer is: by its stored state, and where batches have passed through it on this node by those as well.
    /// </summary>
    public async ValueTask<LayerHealth> HealthOfAsync(SessionSummary session, CancellationToken cancellationToken)
    {
        if (resident.Peek(session.Id) is { } here && here.Traffic is { } traffic && (traffic.Inference ?? traffic.Frozen) is not null)
            return LayerHealth.Of(Diagnosis.Of(here.Current.Layer, traffic.Inference?.Statistics, traffic.Frozen?.Statistics));
        if (session.Health is not null) return session.Health;
        // Stored by a service that did not say it yet, and perhaps deleted meanwhile.
        return await reads.FindAsync(session.Id, mayJoin: true, cancellationToken) is { Record: var stored } && stored.Id == session.Id
            ? LayerHealth.Of(Diagnosis.Of(stored.Layer, null, null))
            : new LayerHealth(Health.Settling, "the session is gone");
    }

    /// <summary>Edits a session.</summary>
    /// <returns>The state after the edit.</returns>
    public async Task<SessionRecord> ChangeAsync(
        LayerSession session, Func<SessionRecord, SessionRecord> edit, CancellationToken cancellationToken) =>
        ((Made<SessionRecord>)await commits.CommitAsync(session, new Edit(edit), cancellationToken)).State;

    /// <summary>Deletes a session, its snapshots and the steps it retains.</summary>
    public async Task DeleteAsync(LayerSession session, Action<long> check, CancellationToken cancellationToken)
    {
        using var place = count.Leave(session.Current.Owner);
        for (var times = 1; ; times++)
        {
            if (await store.FindVersionAsync(session.Id, cancellationToken) is not { } version) throw NotFound(session.Current.Name);
            check(version.Number);
            using var turn = await large.EnterAsync(session.Current.Writer, session.Current.ResidentBytes, cancellationToken);
            RequestDeadline.Lift();
            if (!await store.TryDeleteAsync(session.Id, version, cancellationToken))
            {
                await Overtaken.WaitAsync(times);
                continue;
            }
            place.Keep();
            bytes.Free(session.Current.Owner, 1, session.Current.StoredSize);
            newest.Forget(session);
            retained.Drop(session.Id);
            activity.Touch(session.Current);
            return;
        }
    }

    // Another's session is not there, by its name and by its id: a caller cannot even find out whether it is.
    private async ValueTask<LayerSession?> FindAsync(
        SessionScope scope, string nameOrId, Freshness freshness, CancellationToken cancellationToken)
    {
        if (!await IsSeenAsync(scope, nameOrId, cancellationToken)) return null;
        try
        {
            var session = await newest.FindAsync(nameOrId, freshness, cancellationToken);
            return session is not null && scope.Contains(session.Current.Name) ? session : null;
        }
        catch (DamagedStateException damaged) when (damaged.Remains is { Session.Name: var name } && !scope.Contains(name))
        {
            return null;
        }
    }

    // Neither by how long it takes: a session that is not in memory for the caller is looked up in the store by its name alone, whether it
    // is another's, in memory or not, small or large, or nobody's. A text that no name of the caller's begins like can be but an id.
    private async ValueTask<bool> IsSeenAsync(SessionScope scope, string nameOrId, CancellationToken cancellationToken)
    {
        if (scope.Prefix is null || resident.Holds(scope, nameOrId)) return true;
        var name = await store.FindNameAsync(scope.Contains(nameOrId) ? nameOrId : null, nameOrId, cancellationToken);
        return name is not null && scope.Contains(name);
    }

    public static ProblemException NotFound(string nameOrId) =>
        new(ProblemCode.SessionNotFound, $"there is no session '{Excerpt.Of(nameOrId, 128)}'");
}

/// <summary>
/// The sessions that a caller sees: those whose names begin with the prefix of its key. Every look-up of the catalog asks for one, so that
/// no call can find a session of somebody else.
/// </summary>
/// <param name="Prefix">The prefix; null for all sessions.</param>
internal sealed record SessionScope(string? Prefix)
{
    /// <summary>The longest prefix: an id has room behind it in a name.</summary>
    public const int LongestPrefix = 96;

    public static SessionScope Everything { get; } = new((string?)null);

    /// <summary>The id of the key that the caller has sent; null where keys are not asked for.</summary>
    public string? KeyId { get; init; }

    /// <summary>Who the caller is, where places are counted.</summary>
    public Caller Caller { get; init; } = Caller.Stranger;

    public bool Contains(string name) => Prefix is null || name.StartsWith(Prefix, StringComparison.Ordinal);

    /// <summary>What a list of names that begin with <paramref name="prefix"/> looks for here; null where there can be none.</summary>
    public string? Within(string prefix) =>
        Contains(prefix) ? prefix : Prefix!.StartsWith(prefix, StringComparison.Ordinal) ? Prefix : null;

    /// <summary>
    /// Binds a handler's parameter: the scope that was found out with the caller's key. Without one, nothing is answered.
    /// </summary>
    public static ValueTask<SessionScope?> BindAsync(HttpContext context) => new(RequestContext.Of(context).Scope
        ?? throw new InvalidOperationException("the key of the request has not been looked at"));
}
