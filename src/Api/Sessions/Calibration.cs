using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a change of population statistics is answered with.</summary>
internal sealed record PopulationResult(PopulationReplay Replay, bool IsReplayed)
{
    /// <summary>What rounding the batch to float32 has spoilt; null for nothing.</summary>
    public Finding? Rounding { get; init; }
}

/// <summary>
/// Population statistics: moments are computed before the commit and merged in it, so that calls at the same time lose nothing and
/// a commit is O(features).
/// </summary>
internal sealed class Calibration(SessionCatalog catalog, Commits commits, Computing computing)
{
    /// <summary>Adds a batch; an empty one moves nothing.</summary>
    public async Task<PopulationResult> AddAsync(
        LayerSession session, Tensor x, BatchMask? mask, SentDigits? digits, ChangeTerms terms, CancellationToken cancellationToken)
    {
        session.Current.Layer.RequirePopulation();
        var batch = computing.BatchOf(session.Current.Layer, x.Shape);
        batch.RequireMask(mask);
        Moments moments;
        using (await computing.EnterAsync(x.Shape, cancellationToken))
        using (computing.Begin(PassKind.Moments, x.Shape)) moments = batch.MomentsOf(x, mask);
        if (!moments.IsFinite) throw NonFinite.OfPopulation(x);
        var rounding = digits?.FindingFrom(moments.Mean, moments.Variance(unbiased: false));
        var added = await ChangeAsync(session, new Gathering(new PopulationEstimate(moments, 1), batch.Layout, terms), cancellationToken);
        return added with { Rounding = rounding };
    }

    /// <summary>Adds statistics gathered elsewhere, all or none.</summary>
    public async Task<PopulationResult> MergeAsync(
        LayerSession session, IReadOnlyList<Moments> moments, SessionScope scope, IReadOnlyList<string> others, ChangeTerms terms,
        CancellationToken cancellationToken)
    {
        session.Current.Layer.RequirePopulation();
        // The other sessions may be gone, or have nothing any more, when the call comes again.
        if (await commits.FindAsync(session, terms.Key, cancellationToken) is { } earlier) return new(PopulationReplay.Of(earlier), true);
        PopulationEstimate? gathered = null;
        foreach (var entry in moments) gathered = PopulationEstimate.Union(gathered, new PopulationEstimate(entry, 1));
        var features = gathered?.Moments.Channels ?? FixedFeatures(session.Current.Layer);
        var seen = new Dictionary<string, int> { [session.Id] = -1 };
        for (var i = 0; i < others.Count; i++)
        {
            var other = await catalog.GetAsync(scope, others[i], cancellationToken);
            if (!seen.TryAdd(other.Id, i)) throw Repeated(i, others[i], seen[other.Id]);
            var theirs = GatheredBy(other.Current, i, features);
            features ??= theirs.Moments.Channels;
            gathered = PopulationEstimate.Union(gathered, theirs);
        }
        return await ChangeAsync(session, new Gathering(gathered!, null, terms), cancellationToken);
    }

    public Task<PopulationResult> CommitAsync(LayerSession session, ChangeTerms terms, CancellationToken cancellationToken) =>
        ChangeAsync(session, new TakingOver(terms), cancellationToken);

    public Task<PopulationResult> DropAsync(LayerSession session, ChangeTerms terms, CancellationToken cancellationToken) =>
        ChangeAsync(session, new Dropping(terms), cancellationToken);

    private async Task<PopulationResult> ChangeAsync(LayerSession session, PopulationChange change, CancellationToken cancellationToken)
    {
        if (await commits.FindAsync(session, change.Terms.Key, cancellationToken) is { } earlier) return new(change.Read(earlier), true);
        return await commits.CommitAsync(session, change, cancellationToken) is Made<PopulationReplay> made
            ? new(made.Answer, false)
            : await ChangeAsync(session, change, cancellationToken);
    }

    private static int? FixedFeatures(LayerState layer) => layer.FeaturesAreFixed ? layer.Features : null;

    private static PopulationEstimate GatheredBy(SessionRecord other, int index, int? features)
    {
        if (other.Layer.Gathered is not { } gathered)
        {
            throw new ProblemException(ProblemCode.NoRunningStatistics,
                $"sessions[{index}]: session '{other.Name}' has neither gathered calibration batches nor been trained on any");
        }
        if (features is { } expected && gathered.Moments.Channels != expected)
        {
            throw new ProblemException(ProblemCode.ShapeMismatch,
                $"sessions[{index}]: session '{other.Name}' has {gathered.Moments.Channels} features, expected {expected}");
        }
        return gathered;
    }

    private static ProblemException Repeated(int index, string name, int earlier) => new(ProblemCode.InvalidOption, earlier < 0
        ? $"sessions[{index}] must be another session: '{name}' is the one to merge into"
        : $"sessions[{index}] must be a session of its own: '{name}' is sessions[{earlier}] again, and its values would count twice");

    /// <summary>A change that is answered with what has been gathered then.</summary>
    private abstract record PopulationChange(ChangeTerms Terms) : Change<PopulationReplay>(Terms)
    {
        protected abstract LayerState Change(LayerState layer);

        public override SessionRecord? Apply(SessionRecord before)
        {
            var next = Change(before.Layer);
            return next.Version == before.Layer.Version ? before : before with { Layer = next };
        }

        public override PopulationReplay Answer(SessionRecord before, SessionRecord after) =>
            after.Layer is { Population: { Moments: var moments } population } layer
                ? new(layer.Version, 0, population.Batches, moments.Count, moments.Mean, layer.PopulationVariance)
                : new(after.Layer.Version, 0, 0, 0, null, null);

        public override StoredReplay Store(PopulationReplay answer) => answer.Store();

        public override PopulationReplay Read(StoredReplay replay) => PopulationReplay.Of(replay);
    }

    private sealed record Gathering(PopulationEstimate More, Layout? Layout, ChangeTerms Terms) : PopulationChange(Terms)
    {
        protected override LayerState Change(LayerState layer) => (Layout is null ? layer : layer.SizedFor(Layout)).Accumulate(More);
    }

    private sealed record Dropping(ChangeTerms Terms) : PopulationChange(Terms)
    {
        protected override LayerState Change(LayerState layer) => layer.DropPopulation();
    }

    private sealed record TakingOver(ChangeTerms Terms) : PopulationChange(Terms)
    {
        protected override LayerState Change(LayerState layer) => layer.CommitPopulation();

        public override PopulationReplay Answer(SessionRecord before, SessionRecord after) =>
            new(after.Layer.Version, after.Layer.Running!.BatchesTracked, 0, 0, after.Layer.Running.Mean, after.Layer.Running.Variance);
    }
}
