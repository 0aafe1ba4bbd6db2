using BnService.Api.Hosting.Problems;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// Population statistics: moments are computed before the commit and merged in it, so that calls at the same time lose nothing and
/// a commit is O(features).
/// </summary>
internal sealed class Calibration(SessionCatalog catalog, ComputeSettings compute)
{
    /// <summary>Adds a batch; an empty one moves nothing.</summary>
    /// <param name="session">The session.</param>
    /// <param name="x">The batch.</param>
    /// <param name="check">Throws to refuse, given the version that would be changed.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public Task<SessionRecord> AddAsync(LayerSession session, Tensor x, Action<long> check, CancellationToken cancellationToken)
    {
        session.Current.Layer.RequirePopulation();
        var (plan, _) = catalog.PlanFor(x.Shape, session.Current.Layer);
        var batch = Forward.BatchMoments(plan, x.Data, compute);
        if (!batch.IsFinite) throw NonFinite(x.Data);
        return ChangeAsync(session, layer => layer.SizedFor(plan).Accumulate(new PopulationEstimate(batch, 1)), check, cancellationToken);
    }

    /// <summary>Adds statistics gathered elsewhere, all or none.</summary>
    /// <param name="session">The session.</param>
    /// <param name="moments">Moments of values that no session has seen, one entry a batch.</param>
    /// <param name="others">Names or ids of other sessions.</param>
    /// <param name="check">Throws to refuse, given the version that would be changed.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<SessionRecord> MergeAsync(
        LayerSession session, IReadOnlyList<Moments> moments, IReadOnlyList<string> others, Action<long> check, CancellationToken cancellationToken)
    {
        session.Current.Layer.RequirePopulation();
        var gathered = moments.Aggregate((PopulationEstimate?)null, (union, entry) => PopulationEstimate.Union(union, new PopulationEstimate(entry, 1)));
        var features = gathered?.Moments.Channels ?? FixedFeatures(session.Current.Layer);
        var seen = new Dictionary<string, int> { [session.Id] = -1 };
        for (var i = 0; i < others.Count; i++)
        {
            var other = await catalog.GetAsync(others[i], cancellationToken);
            if (!seen.TryAdd(other.Id, i)) throw Repeated(i, others[i], seen[other.Id]);
            var theirs = GatheredBy(other.Current, i, features);
            features ??= theirs.Moments.Channels;
            gathered = PopulationEstimate.Union(gathered, theirs);
        }
        return await ChangeAsync(session, layer => layer.Accumulate(gathered!), check, cancellationToken);
    }

    /// <summary>Replaces the running statistics by what was gathered.</summary>
    public Task<SessionRecord> CommitAsync(LayerSession session, Action<long> check, CancellationToken cancellationToken) =>
        ChangeAsync(session, layer => layer.CommitPopulation(), check, cancellationToken);

    /// <summary>Forgets what was gathered.</summary>
    public Task<SessionRecord> DropAsync(LayerSession session, Action<long> check, CancellationToken cancellationToken) =>
        ChangeAsync(session, layer => layer.DropPopulation(), check, cancellationToken);

    private Task<SessionRecord> ChangeAsync(
        LayerSession session, Func<LayerState, LayerState> change, Action<long> check, CancellationToken cancellationToken) =>
        catalog.ChangeAsync(session, record =>
        {
            check(record.Layer.Version);
            var next = change(record.Layer);
            return next.Version == record.Layer.Version ? record : record with { Layer = next };
        }, cancellationToken);

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

    private static LayerException NonFinite(ReadOnlySpan<float> x)
    {
        var index = TrainStep.FirstNonFinite(x);
        return new LayerException(LayerError.NonFiniteInput,
            $"x must be finite, since it goes into the population statistics: element {index} is {(index < x.Length ? x[index] : float.NaN)}");
    }
}
