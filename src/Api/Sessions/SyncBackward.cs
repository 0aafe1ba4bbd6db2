using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// The backward pass of several ranks, each with a part of the batch: gradient sums are added over the ranks, each takes its gradient by x
/// from those of all, and gamma and beta are updated once with the gradients of the whole batch.
/// </summary>
internal sealed class SyncBackward(SessionCatalog catalog, SyncGroups groups, RetainedSteps retained, PassMeter passes, ComputeGate gate, ComputeSettings compute)
{
    /// <summary>Names of the call, and of what comes before it where x is sent again: the statistics of the forward pass.</summary>
    public const string Call = "backward", MomentsCall = "backward-moments";

    private const string SumDy = "sum_dy", SumDyXmu = "sum_dy_xmu", Dgamma = "dgamma", Dbeta = "dbeta";

    /// <summary>Through a retained step of a synchronized train-step.</summary>
    public async Task<BackwardResult> ThroughStepAsync(
        LayerSession session, SyncRank rank, string stepId, Tensor dy, ParameterUpdate? update, ChangeTerms terms, CancellationToken cancellationToken)
    {
        using var step = retained.Hold(stepId, session.Id);
        if (step.Statistics is { AreJoint: false })
            throw new ProblemException(ProblemCode.InvalidOption, "step_id names a step that was not synchronized: its gradient is its own, and asked for with backward");
        BackwardPass.RequireOwned(step, update);
        var earlier = await EarlierAsync(session, terms, cancellationToken);
        return await RunAsync(session, rank, new(step.Input, step.Layer, step.Statistics), dy, update, terms, earlier, cancellationToken);
    }

    /// <summary>Through x, which the server has not kept: the statistics are joined once more, and move nothing.</summary>
    /// <param name="session">The session.</param>
    /// <param name="rank">Whose part of the batch it is.</param>
    /// <param name="input">The part.</param>
    /// <param name="dy">Gradient by its output.</param>
    /// <param name="throughBatch">Whether the gradient flows through the batch's statistics, where the session's mode lets it.</param>
    /// <param name="digits">What the part was before it was rounded, or null.</param>
    /// <param name="update">How the gradients of the whole batch change gamma and beta, or null; the same for all ranks.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    public async Task<BackwardResult> ThroughInputAsync(
        LayerSession session, SyncRank rank, BatchInput input, Tensor dy, bool throughBatch, SentDigits? digits, ParameterUpdate? update, ChangeTerms terms,
        CancellationToken cancellationToken)
    {
        input.RequireFit();
        RequireGradient(input, dy);
        var batch = input.On(catalog.BatchOf(session.Current.Layer, input.X.Shape, compute));
        var layer = batch.Layer;
        var earlier = await EarlierAsync(session, terms, cancellationToken);
        // A repetition goes the way that the call went.
        if (earlier is null ? (!throughBatch || !layer.NormalizesWithBatch) && layer.Running is not null : !earlier.Arrays.ContainsKey(SumDy))
            return await RunAsync(session, rank, new(input, layer, null), dy, update, terms, earlier, cancellationToken) with { Rounding = digits?.FindingFrom(layer, null) };
        Moments own;
        using (await gate.EnterAsync(input.X.Shape, cancellationToken))
        using (passes.Begin(PassKind.Moments, input.X.Shape)) own = batch.OwnMoments(input.X, input.Mask);
        // A repetition finds both halves of what was done, or the first one.
        var half = terms with { Key = terms.Key is null ? null : terms.Key with { Topic = MomentsCall } };
        if (earlier is null) terms.Check(session.Current.Layer.Version);
        var outcome = await EarlierAsync(session, half, cancellationToken)
            ?? await groups.JoinAsync(session, MomentsCall, rank, half, SyncTrainStep.Encode(own), parts =>
            {
                var statistics = batch.Join(SyncTrainStep.Joined(parts, own), input.Mask);
                return new SyncCompletion(record => record, (_, after) =>
                    SyncTrainStep.Normalizing(batch, after.Layer.SizedFor(batch.Layout), statistics) with { Version = after.Layer.Version });
            }, cancellationToken);
        var part = SyncTrainStep.PartOf(layer, outcome, input, compute);
        var rounding = digits?.FindingFrom(part.Layer, part.Statistics);
        return await RunAsync(session, rank, new(input, part.Layer, part.Statistics), dy, update, terms, earlier, cancellationToken) with { Rounding = rounding };
    }

    private async Task<BackwardResult> RunAsync(
        LayerSession session, SyncRank rank, ForwardStep step, Tensor dy, ParameterUpdate? update, ChangeTerms terms, RememberedAnswer? earlier,
        CancellationToken cancellationToken)
    {
        RequireGradient(step.Input, dy);
        // The update has moved what the gradients were computed with.
        if (earlier is not null) step = step with { Layer = BackwardResult.Before(step.Layer, earlier) };
        else terms.Check(session.Current.Layer.Version);
        var (input, shape) = (step.Input, step.Input.X.Shape);
        var dx = Tensor.Rent(shape, dy.Precision);
        // What the two halves share is also the gradient by the residual; without one it lies in dy's memory.
        var dresidual = input.Residual is null ? null : Tensor.Rent(shape, dy.Precision);
        try
        {
            var batch = Batch.Of(step.Layer, shape, compute);
            var gradient = dresidual ?? dy;
            GradientSums? sums = null;
            ParameterGradients? own = null;
            // The turn is over before the other ranks are waited for, which may come here.
            using (await gate.EnterAsync(shape, cancellationToken))
            using (passes.Begin(PassKind.Gradients, shape))
            {
                if (step.Statistics is { } statistics) sums = batch.SumGradients(input.X, dy, statistics, input.Residual, gradient);
                else own = batch.Gradients(input.X, dy, null, input.Residual, dx, dresidual);
            }
            var part = new RememberedAnswer(0, 0)
            {
                Update = update?.ToString() ?? "",
                Count = shape.Count,
                Arrays = sums is not null
                    ? new Dictionary<string, double[]> { [SumDy] = sums.SumDy, [SumDyXmu] = sums.SumDyXmu }
                    : new Dictionary<string, double[]> { [Dgamma] = own!.DGamma, [Dbeta] = own.DBeta },
            };
            var outcome = earlier ?? await groups.JoinAsync(session, Call, rank, terms, part,
                parts => Completion(parts, batch, step, update), cancellationToken);
            if (sums is not null)
            {
                using var timed = passes.Begin(PassKind.Gradients, shape);
                own = batch.JoinedGradients(
                    input.X, gradient, step.Statistics!, sums, new GradientSums(outcome.Arrays[SumDy], outcome.Arrays[SumDyXmu]), dx);
            }
            return new BackwardResult(dx, dresidual, own!, step.Layer, outcome, earlier is not null);
        }
        catch
        {
            dx.Dispose();
            dresidual?.Dispose();
            throw;
        }
    }

    private async Task<RememberedAnswer?> EarlierAsync(LayerSession session, ChangeTerms terms, CancellationToken cancellationToken) =>
        terms.Key is null ? null : await catalog.FindAnswerAsync(session, terms.Key, cancellationToken);

    private static SyncCompletion Completion(
        IReadOnlyList<RememberedAnswer> parts, Batch batch, ForwardStep step, ParameterUpdate? update)
    {
        if (parts.FirstOrDefault(part => part.Update != (update?.ToString() ?? "")) is { } odd)
            throw new ProblemException(ProblemCode.InvalidOption, $"update must be the same for all ranks, got '{update}' and '{odd.Update}'");
        var (first, second) = step.Statistics is null ? (Dgamma, Dbeta) : (SumDy, SumDyXmu);
        if (!parts.All(part => part.Arrays.ContainsKey(first)))
            throw new ProblemException(ProblemCode.InvalidOption, "mode must be the same for all ranks: some of them go through the statistics of the batch, and some through the running ones");
        if (parts.Select(part => part.Arrays[first].Length).Distinct().Count() > 1)
            throw new ProblemException(ProblemCode.ShapeMismatch, "the parts of all ranks must have the same number of statistics");
        var total = (First: Sum(parts, first), Second: Sum(parts, second));
        var gradients = step.Statistics is { } statistics ? batch.ParametersOf(statistics, new(total.First, total.Second)) : new ParameterGradients(total.First, total.Second);
        var isEmpty = parts.All(part => part.Count == 0);
        return new SyncCompletion(
            record => update is null || isEmpty
                ? record
                : record with { Layer = record.Layer.SizedFor(Layout.Of(step.Input.X.Shape, record.Layer.Options)).Update(update, gradients) },
            (_, after) =>
            {
                var arrays = update is null ? [] : BackwardResult.ParametersOf(step.Layer, after.Layer);
                arrays.Add(first, total.First);
                arrays.Add(second, total.Second);
                return new(after.Layer.Version, after.Layer.Running?.BatchesTracked ?? 0) { Arrays = arrays };
            });
    }

    private static double[] Sum(IReadOnlyList<RememberedAnswer> parts, string name)
    {
        var sum = new double[parts[0].Arrays[name].Length];
        foreach (var part in parts)
        {
            for (var i = 0; i < sum.Length; i++) sum[i] += part.Arrays[name][i];
        }
        return sum;
    }

    private static void RequireGradient(BatchInput input, Tensor dy)
    {
        if (!dy.Shape.Equals(input.X.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"dy must have the shape of x, {input.X.Shape}, got {dy.Shape}");
    }

    private sealed record ForwardStep(BatchInput Input, LayerState Layer, StepStatistics? Statistics);
}
