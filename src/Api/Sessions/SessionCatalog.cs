using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>Finds, creates, changes and deletes sessions: between the calls, which see states, and the store, which sees bytes and versions.</summary>
internal sealed class SessionCatalog(
    ISessionStore store, ResidentSessions resident, NewestStates newest, StateReads reads, RetainedSteps retained, SessionCount count, IOptions<LimitOptions> limits,
    LargeWrites large, StoredBytes bytes, CommitMeter meter, SessionActivity activity, TimeProvider time)
    : ICommits
{
    /// <summary>What an answer takes beside its tensors: chunks of text, and copies of small arrays.</summary>
    public const int AnswerBytes = 64 << 10;

    // An answer has the mean and the variance of a batch, or both parameters.
    private const long AnswerArrays = 2 * sizeof(double);

    /// <summary>Creates a session.</summary>
    /// <param name="scope">The sessions that the caller sees, of which it is to be one.</param>
    /// <param name="name">Its name, or null for its id, behind the caller's prefix.</param>
    /// <param name="labels">Its labels.</param>
    /// <param name="options">Its layer's options; valid.</param>
    /// <param name="convention">The convention that they were sent in, or null.</param>
    /// <param name="fill">The layer's first state from its initial one, or null for that itself.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<SessionRecord> CreateAsync(
        SessionScope scope, string? name, IReadOnlyDictionary<string, string> labels, NormalizerOptions options, AppliedConvention? convention,
        Func<LayerState, LayerState>? fill, CancellationToken cancellationToken)
    {
        if (name is not null && !scope.Contains(name))
            throw new ProblemException(ProblemCode.Forbidden, $"name must begin with '{scope.Prefix}', the prefix of the key, got '{Excerpt.Of(name, 128)}'");
        RequireFeatures(options.NumFeatures);
        using var place = await count.TakeAsync(scope.KeyId, cancellationToken);
        var now = time.GetUtcNow();
        var id = Guid.CreateVersion7(now).ToString("N");
        var layer = LayerState.Create(options);
        if (fill is not null) layer = fill(layer) with { Version = layer.Version };
        RequireFeatures(layer.Features);
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

    /// <summary>The session with a name or id, or what stands in for a damaged one, to be deleted or to be given a whole state; null where there is none.</summary>
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
    /// <param name="scope">The sessions that the caller sees.</param>
    /// <param name="nameOrId">Its name or id.</param>
    /// <param name="least">The least version that will do; 0 for any.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    /// <exception cref="ProblemException">There is none, or none as new as that.</exception>
    public async ValueTask<LayerSession> GetRecentAsync(SessionScope scope, string nameOrId, long least, CancellationToken cancellationToken) =>
        await FindRecentAsync(scope, nameOrId, least, cancellationToken) ?? throw NotFound(nameOrId);

    /// <summary>The session with a name or id, as new as <see cref="GetRecentAsync"/> has it, or null.</summary>
    public async ValueTask<LayerSession?> FindRecentAsync(SessionScope scope, string nameOrId, long least, CancellationToken cancellationToken)
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

    /// <summary>A batch of a shape, as a layer sees it.</summary>
    /// <exception cref="ProblemException">It would take more statistics than a session may have: refused before any are allocated.</exception>
    public Batch BatchOf(LayerState layer, Shape shape, ComputeSettings compute) => Batch.Of(layer, shape, compute, layout =>
    {
        if (layout.Reduction == Reduction.Channels) RequireFeatures(layout.Statistics);
        else if (layout.Statistics > limits.Value.MaxStatistics)
        {
            throw new ProblemException(ProblemCode.LimitReached,
                $"a batch has at most {limits.Value.MaxStatistics} statistics (Limits:MaxStatistics), x of shape {shape} has {layout.Statistics}");
        }
    });

    /// <summary>What has passed through a session on this node; null where nothing has.</summary>
    public SessionTraffic? TrafficOf(SessionSummary session) => resident.Peek(session.Id)?.Traffic;

    /// <summary>How a session's layer is: by its stored state, and where batches have passed through it on this node by those as well.</summary>
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

    /// <summary>Changes a session's state; see <see cref="CommitQueue.AddAsync"/>.</summary>
    /// <param name="session">The session.</param>
    /// <param name="change">The change.</param>
    /// <param name="cancellationToken">Ends waiting; a change that waits is made all the same.</param>
    public Task<CommittedChange> ChangeAsync(LayerSession session, SessionChange change, CancellationToken cancellationToken)
    {
        // What has changed must be answered: the memory for that is there before.
        MemoryAccount.Expect(AnswerBytes + (AnswerArrays * session.Current.Layer.Features));
        RequestDeadline.Lift();
        var committing = session.Commits.AddAsync(change, this).WaitAsync(cancellationToken);
        return Spans.AreSeen ? Spans.CommitAsync(committing) : committing;
    }

    /// <summary>Changes a session's state.</summary>
    /// <inheritdoc cref="ChangeAsync(LayerSession, SessionChange, CancellationToken)"/>
    /// <returns>The state after the change.</returns>
    public async Task<SessionRecord> ChangeAsync(
        LayerSession session, Func<SessionRecord, SessionRecord> change, CancellationToken cancellationToken) =>
        (await ChangeAsync(session, new SessionChange(change), cancellationToken)).State;

    /// <inheritdoc/>
    CommitMeter ICommits.Meter => meter;

    /// <inheritdoc/>
    SessionRecord ICommits.Accept(SessionRecord next)
    {
        RequireFeatures(next.Layer.Features);
        return next with { UpdatedAt = time.GetUtcNow(), Mark = WriteMark.Draw(), Damage = Damage.None };
    }

    /// <summary>How a question was answered; null where it was not.</summary>
    /// <exception cref="ProblemException">The key was used for another question.</exception>
    public async Task<RememberedAnswer?> FindAnswerAsync(LayerSession session, AnswerKey key, CancellationToken cancellationToken)
    {
        var answer = await ((ICommits)this).FindAnswerAsync(session, key).AsTask().WaitAsync(cancellationToken);
        if (answer is not null) key.RequireSame(answer);
        return answer;
    }

    /// <inheritdoc/>
    async ValueTask<RememberedAnswer?> ICommits.FindAnswerAsync(LayerSession session, AnswerKey key)
    {
        for (var times = 1; ; times++)
        {
            if (await store.FindAnswerAsync(session.Id, key.Topic, key.Key, CancellationToken.None) is not { } stored) return null;
            var answer = RememberedAnswer.Decode(stored);
            if (!store.IsShared || answer.Version <= session.Current.Layer.Version) return answer;
            // Another node has made it, or the state went back behind it: then it tells of a change that is made no more.
            await ((ICommits)this).RefreshAsync(session);
            var current = session.Current;
            if (answer.Version <= current.Layer.Version) return answer;
            if (await store.TryForgetAnswerAsync(session.Id, key.Topic, key.Key, current.Stored, CancellationToken.None)) return null;
            await Overtaken.WaitAsync(times);
        }
    }

    /// <inheritdoc/>
    async Task<bool> ICommits.TryStoreAsync(SessionRecord current, SessionRecord next, IReadOnlyList<RememberedAnswer> answers)
    {
        using var turn = await large.EnterAsync(next.Writer, next.ResidentBytes, CancellationToken.None);
        var (stored, remembered) = (SessionEncoding.Encode(next), answers.Select(answer => answer.Encode()).ToArray());
        next.StoredSize = stored.Size;
        var more = next.StoredSize - current.StoredSize + remembered.Sum(answer => answer.CountedBytes);
        using var room = await bytes.TakeAsync(next.Owner, more, CancellationToken.None);
        if (!await store.TryUpdateAsync(stored, current.Stored, remembered, CancellationToken.None)) return false;
        room.Keep();
        activity.Touch(next);
        if (resident.Peek(next.Id) is { } session)
        {
            // Another one than the caller's where that has left memory since: nobody else would tell it.
            session.Publish(next);
            resident.Measure(session);
        }
        return true;
    }

    /// <inheritdoc/>
    async Task ICommits.RefreshAsync(LayerSession session)
    {
        if (!await newest.TryRefreshAsync(session, CancellationToken.None)) throw NotFound(session.Current.Name);
    }

    /// <summary>Deletes a session, its snapshots and the steps it retains.</summary>
    /// <param name="session">The session.</param>
    /// <param name="check">Throws to refuse, given the version that would be deleted.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
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
    private async ValueTask<LayerSession?> FindAsync(SessionScope scope, string nameOrId, Freshness freshness, CancellationToken cancellationToken)
    {
        if (!await IsSeenAsync(scope, nameOrId, cancellationToken)) return null;
        try
        {
            return await newest.FindAsync(nameOrId, freshness, cancellationToken) is { } session && scope.Contains(session.Current.Name) ? session : null;
        }
        catch (DamagedStateException damaged) when (damaged.Remains is { Session.Name: var name } && !scope.Contains(name))
        {
            return null;
        }
    }

    // Neither by how long it takes: what is not in memory for the caller is asked for in the store by its name alone, whether it is another's,
    // in memory or not, small or large, or nobody's. A text that no name of the caller's begins like can be but an id.
    private async ValueTask<bool> IsSeenAsync(SessionScope scope, string nameOrId, CancellationToken cancellationToken) =>
        scope.Prefix is null || resident.Holds(scope, nameOrId)
        || (await store.FindNameAsync(scope.Contains(nameOrId) ? nameOrId : null, nameOrId, cancellationToken) is { } name && scope.Contains(name));

    private void RequireFeatures(int features)
    {
        if (features > limits.Value.MaxFeatures)
            throw new ProblemException(ProblemCode.LimitReached, $"a session has at most {limits.Value.MaxFeatures} features (Limits:MaxFeatures), got {features}");
    }

    /// <summary>What is answered where a caller sees no session with a name or id.</summary>
    public static ProblemException NotFound(string nameOrId) =>
        new(ProblemCode.SessionNotFound, $"there is no session '{Excerpt.Of(nameOrId, 128)}'");
}
