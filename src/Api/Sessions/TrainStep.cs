using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>The tensors of a batch; whoever holds it disposes it.</summary>
/// <param name="X">The batch.</param>
/// <param name="Residual">Added to y before the activation, in the shape of x; null for nothing.</param>
/// <param name="Mask">Which samples count in the statistics; null for all.</param>
internal sealed record BatchInput(Tensor X, Tensor? Residual, bool[]? Mask) : IDisposable
{
    /// <summary>Refuses a residual of another shape.</summary>
    public void RequireFit()
    {
        if (Residual is not null && !Residual.Shape.Equals(X.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"residual must have the shape of x, {X.Shape}, got {Residual.Shape}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        X.Dispose();
        Residual?.Dispose();
    }
}

/// <summary>What a train-step did.</summary>
/// <param name="Y">The normalized batch; the caller's to dispose.</param>
/// <param name="StepId">Names the retained step, or null.</param>
/// <param name="Mean">The mean that normalized it; null for kinds that subtract none.</param>
/// <param name="Variance">The variance that normalized it.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="UsedBatch">Whether these are the batch's own statistics.</param>
/// <param name="State">The session after the step.</param>
internal sealed record TrainStepResult(
    TensorSource Y, string? StepId, double[]? Mean, double[] Variance, long Count, bool UsedBatch, SessionRecord State);

/// <summary>
/// A train-step: the batch's moments depend on x alone and are gathered while it arrives; the commit is O(features); y is computed while
/// it is sent, which begins when the commit is durable.
/// </summary>
internal sealed class TrainStep(SessionCatalog catalog, RetainedSteps retained, ComputeSettings compute)
{
    /// <summary>Normalizes a batch and moves the session's statistics.</summary>
    /// <param name="session">The session.</param>
    /// <param name="input">The batch; taken over if <paramref name="retain"/>, which the caller learns from a step id.</param>
    /// <param name="gathered">The batch's moments where they have been gathered while it arrived, or null.</param>
    /// <param name="retain">Whether to keep what backward needs.</param>
    /// <param name="check">Throws to refuse, given the version that would be changed.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<TrainStepResult> RunAsync(
        LayerSession session, BatchInput input, ArrivingBatch? gathered, bool retain, Action<long> check, CancellationToken cancellationToken)
    {
        input.RequireFit();
        var (plan, layer) = catalog.PlanFor(input.X.Shape, session.Current.Layer);
        var ghostBatches = input.X.Shape[0] / (layer.Options.GhostBatchSize ?? int.MaxValue) + 1;
        var bytes = retain ? RetainedStep.BytesOf(input, plan, ghostBatches) : 0;
        if (retain) retained.RequireRoom(bytes);
        var pass = new LayerPass(layer, input.X.Shape, compute);
        pass.RequireMask(input.Mask);
        Tensor? y = null;
        try
        {
            StepStatistics? step;
            SessionRecord committed;
            if (layer.NormalizesWithBatch && !layer.MovesWithBatch)
                (step, committed) = ByItself(session, input, pass, y = Tensor.Rent(input.X.Shape), check);
            else
            {
                step = Statistics(input, layer, pass, gathered);
                committed = await CommitAsync(session, step, plan, check, cancellationToken);
                // Statistics per sample have no output a stretch at a time.
                if (step is not null && !layer.Options.Kind.IsOverBatch) pass.Normalize(input.X.Data, step, Residual(input), (y = Tensor.Rent(input.X.Shape)).Data);
            }
            var kept = retain ? new RetainedStep(session.Id, input, layer, step, bytes) : null;
            // The output reads the batch after it may have been dropped again.
            if (y is null) kept?.TryHold();
            TensorSource output = y is not null ? y : new ComputedOutput(input, pass.Output(step), kept);
            if (kept is not null) Retain(session, kept);
            return new TrainStepResult(output, kept?.Id, layer.Options.Kind.HasMean ? step?.Moments.Mean ?? layer.Running!.Mean : null,
                step?.Moments.Variance(unbiased: false) ?? layer.Running!.Variance, step?.Moments.Count ?? plan.Count, step is not null, committed);
        }
        catch
        {
            y?.Dispose();
            throw;
        }
    }

    /// <summary>Refuses a batch that is not finite where the session says so.</summary>
    /// <exception cref="LayerException">It is not finite.</exception>
    internal static void RequireFinite(StepStatistics step, Tensor x, NormalizerOptions options)
    {
        if (options.NonFinite == NonFinitePolicy.Reject && !step.IsFinite) throw NonFinite(x.Data, step);
    }

    /// <summary>Refuses to use statistics that no data has touched, where the session asks for that.</summary>
    internal static void RequireStatistics(LayerState layer)
    {
        if (layer.Options.RequireStatistics && layer.Running is { IsInitial: true })
            throw new LayerException(LayerError.NoRunningStatistics, "the session requires running statistics and has seen no batch");
    }

    // Kinds that normalize each sample by itself and keep no statistics: nothing is to be committed.
    private static (StepStatistics? Step, SessionRecord State) ByItself(
        LayerSession session, BatchInput input, LayerPass pass, Tensor y, Action<long> check)
    {
        var current = session.Current;
        check(current.Layer.Version);
        var step = pass.NormalizeAtOnce(input.X.Data, Residual(input), y.Data);
        RequireFinite(step, input.X, current.Layer.Options);
        return (step, current);
    }

    // Null where the running statistics normalize the batch.
    private static StepStatistics? Statistics(BatchInput input, LayerState layer, LayerPass pass, ArrivingBatch? gathered)
    {
        if (!layer.NormalizesWithBatch)
        {
            RequireStatistics(layer);
            return null;
        }
        var step = pass.Statistics(input.X.Data, input.Mask, input.Mask is null && pass.GathersWhole ? gathered?.Finish() : null);
        RequireFinite(step, input.X, layer.Options);
        return step;
    }

    private Task<SessionRecord> CommitAsync(
        LayerSession session, StepStatistics? step, NormalizationPlan plan, Action<long> check, CancellationToken cancellationToken) =>
        catalog.ChangeAsync(session, record =>
        {
            check(record.Layer.Version);
            if (step is null) return record;
            var sized = record.Layer.SizedFor(plan);
            var next = sized.Advance(step);
            return ReferenceEquals(next, sized) ? record : record with { Layer = next };
        }, cancellationToken);

    private static ReadOnlySpan<float> Residual(BatchInput input) => input.Residual is { } residual ? residual.Data : [];

    private void Retain(LayerSession session, RetainedStep step)
    {
        retained.Add(step);
        // Deleted since the commit: its steps have been dropped already, without this one.
        if (session.IsGone) retained.Drop(session.Id);
    }

    /// <summary>Index of the first element that is not finite; the length where all are.</summary>
    internal static int FirstNonFinite(ReadOnlySpan<float> x)
    {
        var index = 0;
        while (index < x.Length && float.IsFinite(x[index])) index++;
        return index;
    }

    private static LayerException NonFinite(ReadOnlySpan<float> x, StepStatistics step)
    {
        var index = FirstNonFinite(x);
        if (index == x.Length) return new LayerException(LayerError.NonFiniteInput, $"x has statistics that are not finite ({step.Moments.Count} values each)");
        return new LayerException(LayerError.NonFiniteInput,
            $"x must be finite, since it moves the running statistics for ever: element {index} is {x[index]}; " +
            "a session with non_finite propagate lets it through");
    }
}
