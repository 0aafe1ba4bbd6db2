using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a change of population statistics is answered with.</summary>
/// <param name="Answer">The version, and what has been gathered or taken over: mean and variance by name, with count and batches.</param>
/// <param name="IsReplayed">Whether the change was made, and answered, before.</param>
internal sealed record PopulationResult(RememberedAnswer Answer, bool IsReplayed)
{
    /// <summary>What rounding the batch to float32 has spoilt; null for nothing.</summary>
    public Finding? Rounding { get; init; }

    /// <summary>The mean; null where nothing has been gathered.</summary>
    public double[]? Mean => Answer.Arrays.GetValueOrDefault(nameof(Mean));

    /// <summary>The variance; null where it is not known of so few values.</summary>
    public double[]? Variance => Answer.Arrays.GetValueOrDefault(nameof(Variance));
}

/// <summary>
/// Population statistics: moments are computed before the commit and merged in it, so that calls at the same time lose nothing and
/// a commit is O(features).
/// </summary>
internal sealed class Calibration(SessionCatalog catalog, PassMeter passes, ComputeGate gate, ComputeSettings compute)
{
    /// <summary>Adds a batch; an empty one moves nothing.</summary>
    /// <param name="session">The session.</param>
    /// <param name="x">The batch.</param>
    /// <param name="mask">What of it counts; null for all.</param>
    /// <param name="digits">What it was before it was rounded, or null.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<PopulationResult> AddAsync(
        LayerSession session, Tensor x, BatchMask? mask, SentDigits? digits, ChangeTerms terms, CancellationToken cancellationToken)
    {
        session.Current.Layer.RequirePopulation();
        var batch = catalog.BatchOf(session.Current.Layer, x.Shape, compute);
        batch.RequireMask(mask);
        Moments moments;
        using (await gate.EnterAsync(x.Shape, cancellationToken))
        using (passes.Begin(PassKind.Moments, x.Shape)) moments = batch.MomentsOf(x, mask);
        if (!moments.IsFinite) throw NonFinite(x);
        var rounding = digits?.FindingFrom(moments.Mean, moments.Variance(unbiased: false));
        var added = await ChangeAsync(session, layer => layer.SizedFor(batch.Layout).Accumulate(new PopulationEstimate(moments, 1)), Gathered, terms, cancellationToken);
        return added with { Rounding = rounding };
    }

    /// <summary>Adds statistics gathered elsewhere, all or none.</summary>
    /// <param name="session">The session.</param>
    /// <param name="moments">Moments of values that no session has seen, one entry a batch.</param>
    /// <param name="scope">The sessions that the caller sees.</param>
    /// <param name="others">Names or ids of other sessions.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<PopulationResult> MergeAsync(
        LayerSession session, IReadOnlyList<Moments> moments, SessionScope scope, IReadOnlyList<string> others, ChangeTerms terms,
        CancellationToken cancellationToken)
    {
        session.Current.Layer.RequirePopulation();
        // The other sessions may be gone, or have nothing any more, when the question comes again.
        if (terms.Key is { } key && await catalog.FindAnswerAsync(session, key, cancellationToken) is { } earlier) return new PopulationResult(earlier, true);
        var gathered = moments.Aggregate((PopulationEstimate?)null, (union, entry) => PopulationEstimate.Union(union, new PopulationEstimate(entry, 1)));
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
        return await ChangeAsync(session, layer => layer.Accumulate(gathered!), Gathered, terms, cancellationToken);
    }

    /// <summary>Replaces the running statistics by what was gathered.</summary>
    public Task<PopulationResult> CommitAsync(LayerSession session, ChangeTerms terms, CancellationToken cancellationToken) =>
        ChangeAsync(session, layer => layer.CommitPopulation(), TakenOver, terms, cancellationToken);

    /// <summary>Forgets what was gathered.</summary>
    public Task<PopulationResult> DropAsync(LayerSession session, ChangeTerms terms, CancellationToken cancellationToken) =>
        ChangeAsync(session, layer => layer.DropPopulation(), Gathered, terms, cancellationToken);

    private async Task<PopulationResult> ChangeAsync(
        LayerSession session, Func<LayerState, LayerState> change, Func<LayerState, RememberedAnswer> answer, ChangeTerms terms,
        CancellationToken cancellationToken)
    {
        var committed = await catalog.ChangeAsync(session, new SessionChange(record =>
        {
            terms.Check(record.Layer.Version);
            var next = change(record.Layer);
            return next.Version == record.Layer.Version ? record : record with { Layer = next };
        })
        {
            Key = terms.Key,
            Remember = terms.Key is not { } key ? null : (_, after) => [answer(after.Layer) with { Key = key }],
        }, cancellationToken);
        return new PopulationResult(committed.Replayed ?? answer(committed.State.Layer), committed.Replayed is not null);
    }

    private static RememberedAnswer Gathered(LayerState layer) => layer.Population is not { Moments: var moments } population
        ? new(layer.Version, 0)
        : new(layer.Version, 0) { Batches = population.Batches, Count = moments.Count, Arrays = Arrays(moments.Mean, layer.PopulationVariance) };

    private static RememberedAnswer TakenOver(LayerState layer) =>
        new(layer.Version, layer.Running!.BatchesTracked) { Arrays = Arrays(layer.Running.Mean, layer.Running.Variance) };

    private static Dictionary<string, double[]> Arrays(double[] mean, double[]? variance)
    {
        var arrays = new Dictionary<string, double[]> { [nameof(PopulationResult.Mean)] = mean };
        if (variance is not null) arrays.Add(nameof(PopulationResult.Variance), variance);
        return arrays;
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

    private static LayerException NonFinite(Tensor x)
    {
        var index = TrainStep.FirstNonFinite(x);
        return new LayerException(LayerError.NonFiniteInput,
            "x must be finite, since it goes into the population statistics: " +
            (index < x.Shape.Count ? TrainStep.Describe(x, index) : "its sums are too large for float64"));
    }
}
