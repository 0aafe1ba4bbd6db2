using BnService.Api.Hosting.Problems;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>
/// A train-step of several ranks, each with a part of the batch: their moments are merged, each normalizes its part with those of all, and
/// the running statistics move once. Tensors stay where they are; what travels is O(features).
/// </summary>
internal sealed class SyncTrainStep(
    SessionCatalog catalog, SyncGroups groups, TrainStep alone, RetainedSteps retained, TrafficObserver observer, ComputeSettings compute)
{
    /// <summary>Name of the call.</summary>
    public const string Call = "train-step";

    /// <summary>Normalizes a part of a batch with the statistics of all parts.</summary>
    /// <param name="session">The session.</param>
    /// <param name="rank">Whose part it is.</param>
    /// <param name="input">The part; taken over if <paramref name="retain"/>, which the result tells.</param>
    /// <param name="gathered">The part's moments where they have been gathered while it arrived, or null.</param>
    /// <param name="retain">Whether to keep what backward needs.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    public async Task<TrainStepResult> RunAsync(
        LayerSession session, SyncRank rank, BatchInput input, ArrivingBatch? gathered, bool retain, ChangeTerms terms, CancellationToken cancellationToken)
    {
        input.RequireFit();
        var (plan, layer) = catalog.PlanFor(input.X.Shape, session.Current.Layer);
        // The running statistics are the same to every rank: there is nothing to wait for.
        if (!layer.NormalizesWithBatch) return await alone.RunAsync(session, input, gathered, retain, terms, cancellationToken);
        var bytes = retain ? RetainedStep.BytesOf(input, plan, null) : 0;
        if (retain) retained.RequireRoom(bytes);
        var pass = new LayerPass(layer, input.X.Shape, compute);
        var moments = pass.OwnMoments(input.X.Data, input.Mask, input.Mask is null && pass.GathersWhole ? gathered?.Finish() : null);
        if (layer.Options.NonFinite == NonFinitePolicy.Reject && !moments.IsFinite) throw TrainStep.NonFinite(input.X.Data, moments.Count);
        terms.Check(session.Current.Layer.Version);
        var stepId = retain ? retained.NewId() : null;
        var earlier = terms.Key is null ? null : await catalog.FindAnswerAsync(session, terms.Key, cancellationToken);
        var outcome = earlier ?? await groups.JoinAsync(session, Call, rank, Encode(moments) with { Key = terms.Key ?? AnswerKey.None, StepId = stepId },
            parts => Completion(session, plan, layer, pass, input, Joined(parts, moments), terms), cancellationToken);
        var (basis, statistics) = Normalizing(layer, outcome, input);
        var y = new ComputedOutput(input, basis.Output(statistics));
        var result = new TrainStepResult(
            y, earlier is null ? stepId : earlier.StepId, statistics.Moments.Mean, statistics.Moments.Variance(unbiased: false), outcome.Count,
            outcome.BatchesTracked, outcome.Version, outcome.Warnings)
        {
            IsReplayed = earlier is not null,
        };
        if (stepId is null || earlier is not null) return result;
        var kept = new RetainedStep(stepId, session.Id, input, WithParameters(layer, outcome), statistics, bytes);
        y.Hold(kept);
        retained.Add(kept);
        if (session.IsGone) retained.Drop(session.Id);
        return result with { HasTakenInput = true };
    }

    /// <summary>The moments of all parts, merged in the order of the ranks: the same bits whoever does it.</summary>
    /// <exception cref="ProblemException">The parts do not have the same number of statistics.</exception>
    public static Moments Joined(IReadOnlyList<RememberedAnswer> parts, Moments own)
    {
        var moments = parts.Select(MomentsOf).ToList();
        return moments.TrueForAll(part => part.Channels == own.Channels)
            ? moments.Aggregate(Moments.Merge)
            : throw new ProblemException(ProblemCode.ShapeMismatch, $"the parts of all ranks must have the same number of statistics, got {string.Join(", ", moments.Select(part => part.Channels).Distinct())}");
    }

    /// <summary>Moments as they travel and are remembered.</summary>
    public static RememberedAnswer Encode(Moments moments) => new(0, 0)
    {
        Count = moments.Count,
        Arrays = new Dictionary<string, double[]> { ["mean"] = moments.Mean, ["mean_residual"] = moments.MeanResidual, ["m2"] = moments.M2 },
    };

    /// <summary>Moments that have travelled or were remembered.</summary>
    public static Moments MomentsOf(RememberedAnswer answer) => new(answer.Count, answer.Arrays["mean"], answer.Arrays["mean_residual"], answer.Arrays["m2"]);

    /// <summary>The layer with the parameters that the step was made with, which are the same on all nodes.</summary>
    public static LayerState WithParameters(LayerState layer, RememberedAnswer outcome) => layer with
    {
        Gamma = outcome.Arrays.GetValueOrDefault("gamma"),
        Beta = outcome.Arrays.GetValueOrDefault("beta"),
    };

    // How a part is normalized once it is known what all are.
    private (LayerPass Pass, StepStatistics Statistics) Normalizing(LayerState layer, RememberedAnswer outcome, BatchInput input)
    {
        var pass = new LayerPass(WithParameters(layer, outcome), input.X.Shape, compute);
        var statistics = pass.JointStatistics(MomentsOf(outcome), input.Mask);
        // Renormalization goes towards the running statistics before the step, which may be another node's to know.
        return (pass, outcome.Arrays.TryGetValue("r", out var r) ? statistics with { Parts = [statistics.Parts[0] with { Correction = new(r, outcome.Arrays["d"]) }] } : statistics);
    }

    private SyncCompletion Completion(
        LayerSession session, NormalizationPlan plan, LayerState layer, LayerPass pass, BatchInput input, Moments joint, ChangeTerms terms)
    {
        var statistics = pass.JointStatistics(joint, input.Mask);
        var step = new PreparedStep(pass, plan, layer, statistics, null);
        return new SyncCompletion(
            record =>
            {
                terms.Check(record.Layer.Version);
                if (!record.Layer.NormalizesWithBatch)
                    throw new ProblemException(ProblemCode.VersionConflict, "the session's mode was changed to frozen while the ranks of the step came; send it again");
                var sized = record.Layer.SizedFor(plan);
                var next = sized.Advance(joint);
                return ReferenceEquals(next, sized) ? record : record with { Layer = next };
            },
            (before, after) =>
            {
                observer.Stepped(session, after.Layer, step);
                var (sized, answer) = (before.Layer.SizedFor(plan), Encode(joint));
                var arrays = new Dictionary<string, double[]>(answer.Arrays);
                if (sized.Gamma is not null) arrays.Add("gamma", sized.Gamma);
                if (sized.Beta is not null) arrays.Add("beta", sized.Beta);
                if (pass.With(sized).Corrected(statistics).Parts[0].Correction is { } correction)
                {
                    arrays.Add("r", correction.R);
                    arrays.Add("d", correction.D);
                }
                return step.Answer(after.Layer) with { Count = joint.Count, Arrays = arrays };
            });
    }
}
