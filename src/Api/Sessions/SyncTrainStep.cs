using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// A train-step of several ranks, each with a part of the batch: their moments are merged, each normalizes its part with those of all, and
/// the running statistics move once. Tensors stay where they are; what travels is O(features).
/// </summary>
internal sealed class SyncTrainStep(
    SessionCatalog catalog, SyncGroups groups, TrainStep alone, RetainedSteps retained, TrafficObserver observer, PassMeter passes, ComputeGate gate,
    ComputeSettings compute)
{
    /// <summary>Name of the call.</summary>
    public const string Call = "train-step";

    // Names of what ranks and nodes tell each other.
    private const string Mean = "mean", MeanResidual = "mean_residual", M2 = "m2", Eps = "eps", CorrectionR = "r", CorrectionD = "d";

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
        var batch = input.On(catalog.BatchOf(session.Current.Layer, input.X.Shape, compute));
        var layer = batch.Layer;
        var earlier = terms.Key is null ? null : await catalog.FindAnswerAsync(session, terms.Key, cancellationToken);
        // The running statistics are the same to every rank: there is nothing to wait for.
        if (earlier is null ? !layer.NormalizesWithBatch : !IsJoint(earlier)) return await alone.RunAsync(session, input, gathered, retain, terms, cancellationToken);
        if (earlier is not null) return Result(layer, input, gathered, earlier, earlier.StepId).Result with { IsReplayed = true };
        var bytes = retain ? RetainedStep.BytesOf(input, batch.Layout, null) : 0;
        if (retain) retained.RequireRoom(bytes);
        Moments moments;
        using (await gate.EnterAsync(input.X.Shape, cancellationToken)) moments = OwnMoments(batch, input, gathered);
        if (layer.Options.NonFinite == NonFinitePolicy.Reject && !moments.IsFinite) throw TrainStep.NonFinite(input.X, moments.Count);
        terms.Check(session.Current.Layer.Version);
        var stepId = !retain ? null : terms.Key is { } key ? retained.IdFor(session.Id, key) : retained.NewId();
        var outcome = await groups.JoinAsync(session, Call, rank, terms, Encode(moments) with { StepId = stepId },
            parts => Completion(session, batch, input, Joined(parts, moments)), cancellationToken);
        var (result, normalized) = Result(layer, input, gathered, outcome, stepId);
        if (stepId is null) return result;
        var kept = new RetainedStep(stepId, session.Id, input, normalized.Layer, normalized.Statistics, bytes);
        if (result.Y is ComputedOutput computed) computed.Hold(kept);
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
        Arrays = new Dictionary<string, double[]> { [Mean] = moments.Mean, [MeanResidual] = moments.MeanResidual, [M2] = moments.M2 },
    };

    /// <summary>Moments that have travelled or were remembered.</summary>
    public static Moments MomentsOf(RememberedAnswer answer) => new(answer.Count, answer.Arrays[Mean], answer.Arrays[MeanResidual], answer.Arrays[M2]);

    /// <summary>What is told of joint moments: how each rank normalizes its part with them, whatever has become of the session meanwhile.</summary>
    /// <param name="batch">Any part.</param>
    /// <param name="layer">The layer that normalizes, sized for the parts.</param>
    /// <param name="statistics">The joint statistics.</param>
    public static RememberedAnswer Normalizing(Batch batch, LayerState layer, StepStatistics statistics)
    {
        var answer = Encode(statistics.Moments);
        var arrays = new Dictionary<string, double[]>(answer.Arrays) { [Eps] = [layer.Options.Eps] };
        if (layer.Gamma is not null) arrays.Add(BackwardResult.Gamma, layer.Gamma);
        if (layer.Beta is not null) arrays.Add(BackwardResult.Beta, layer.Beta);
        if (batch.On(layer).Corrected(statistics).Parts[0].Correction is { } correction)
        {
            arrays.Add(CorrectionR, correction.R);
            arrays.Add(CorrectionD, correction.D);
        }
        return answer with { Arrays = arrays };
    }

    /// <summary>How a part is normalized, once it is known what all are.</summary>
    /// <param name="layer">The session's layer, sized for the part.</param>
    /// <param name="outcome">What <see cref="Normalizing"/> has told.</param>
    /// <param name="input">The part.</param>
    /// <param name="compute">With what to compute.</param>
    public static NormalizedPart PartOf(LayerState layer, RememberedAnswer outcome, BatchInput input, ComputeSettings compute)
    {
        var then = input.On(layer with
        {
            Options = layer.Options with { Eps = outcome.Arrays[Eps][0] },
            Gamma = outcome.Arrays.GetValueOrDefault(BackwardResult.Gamma),
            Beta = outcome.Arrays.GetValueOrDefault(BackwardResult.Beta),
        });
        var statistics = Batch.Of(then, input.X.Shape, compute).Join(MomentsOf(outcome), input.Mask);
        // Renormalization goes towards the running statistics before the step, which may be another node's to know.
        return new(then, outcome.Arrays.TryGetValue(CorrectionR, out var r)
            ? statistics with { Parts = [statistics.Parts[0] with { Correction = new(r, outcome.Arrays[CorrectionD]) }] }
            : statistics);
    }

    private Moments OwnMoments(Batch batch, BatchInput input, ArrivingBatch? gathered)
    {
        var arrived = input.Mask is null && batch.GathersWhole ? gathered?.Finish() : null;
        if (arrived is not null) return batch.OwnMoments(input.X, null, arrived);
        using var timed = passes.Begin(PassKind.Moments, input.X.Shape);
        return batch.OwnMoments(input.X, input.Mask);
    }

    private static bool IsJoint(RememberedAnswer answer) => answer.Arrays.ContainsKey(Mean);

    private (TrainStepResult Result, NormalizedPart Part) Result(
        LayerState layer, BatchInput input, ArrivingBatch? gathered, RememberedAnswer outcome, string? stepId)
    {
        var part = PartOf(layer, outcome, input, compute);
        var (mean, variance) = (part.Statistics.Moments.Mean, part.Statistics.Moments.Variance(unbiased: false));
        // What a rank has sent only that rank knows.
        var lost = gathered?.LostFrom(mean, variance);
        var warnings = Diagnosis.OfRounding(lost, mean, variance) is { } rounding ? [rounding, .. outcome.Warnings] : outcome.Warnings;
        return (new(OutputOf(part, input), stepId, mean, variance, outcome.Count, outcome.BatchesTracked, outcome.Version, warnings), part);
    }

    private TensorSource OutputOf(NormalizedPart part, BatchInput input)
    {
        var batch = Batch.Of(part.Layer, input.X.Shape, compute);
        if (input.X.Precision == Precision.Float32) return new ComputedOutput(input, passes.Metered(batch.Output(part.Statistics), input.X.Shape));
        using var timed = passes.Begin(PassKind.Normalize, input.X.Shape);
        return TrainStep.Filled(input.X, y => batch.Write(input.X, part.Statistics, input.Residual, y));
    }

    private SyncCompletion Completion(LayerSession session, Batch batch, BatchInput input, Moments joint)
    {
        var statistics = batch.Join(joint, input.Mask);
        var step = new PreparedStep(batch, statistics, null);
        return new SyncCompletion(
            record =>
            {
                if (!record.Layer.NormalizesWithBatch)
                    throw new ProblemException(ProblemCode.VersionConflict, "the session's mode was changed to frozen while the ranks of the step came; send it again");
                var sized = record.Layer.SizedFor(batch.Layout);
                var next = sized.Advance(joint);
                return ReferenceEquals(next, sized) ? record : record with { Layer = next };
            },
            (before, after) =>
            {
                var normalizing = Normalizing(batch, before.Layer.SizedFor(batch.Layout), statistics);
                return step.Answer(after.Layer) with { Count = joint.Count, Arrays = normalizing.Arrays };
            })
        {
            Made = after => observer.Stepped(session, after.Layer, step, null),
        };
    }
}

/// <summary>How a part of a batch is normalized.</summary>
/// <param name="Layer">The layer with what it was normalized with, which is the same on all nodes.</param>
/// <param name="Statistics">The statistics of all parts.</param>
internal sealed record NormalizedPart(LayerState Layer, StepStatistics Statistics);
