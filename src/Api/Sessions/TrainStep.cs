using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a train-step did.</summary>
/// <param name="Y">The normalized batch; the caller's to dispose.</param>
/// <param name="StepId">Names the retained step, or null.</param>
/// <param name="Mean">The mean that normalized it.</param>
/// <param name="Variance">The variance that normalized it.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="UsedBatch">Whether these are the batch's own statistics.</param>
/// <param name="State">The session after the step.</param>
internal sealed record TrainStepResult(
    Tensor Y, string? StepId, double[] Mean, double[] Variance, long Count, bool UsedBatch, SessionRecord State);

/// <summary>
/// A train-step: the batch's moments depend on x alone; the commit is O(features); y is computed while the store makes the commit
/// durable, and the answer waits for both.
/// </summary>
internal sealed class TrainStep(SessionCatalog catalog, RetainedSteps retained, ComputeSettings compute)
{
    /// <summary>Normalizes a batch and moves the session's statistics.</summary>
    /// <param name="session">The session.</param>
    /// <param name="x">The batch; taken over if <paramref name="retain"/>, which the caller learns from a step id.</param>
    /// <param name="retain">Whether to keep what backward needs.</param>
    /// <param name="check">Throws to refuse, given the version that would be changed.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<TrainStepResult> RunAsync(
        LayerSession session, Tensor x, bool retain, Action<long> check, CancellationToken cancellationToken)
    {
        var (plan, layer) = catalog.PlanFor(x.Shape, session.Current.Layer);
        if (retain) retained.RequireRoom(RetainedStep.BytesOf(x, layer));
        var batch = layer.NormalizesWithBatch ? BatchMoments(plan, x, layer.Options) : null;
        if (batch is null) RequireStatistics(layer);

        var commit = catalog.ChangeAsync(session, record =>
        {
            check(record.Layer.Version);
            if (batch is null) return record;
            var sized = record.Layer.SizedFor(plan);
            var next = sized.Advance(batch);
            return ReferenceEquals(next, sized) ? record : record with { Layer = next };
        }, cancellationToken);
        var y = Tensor.Rent(x.Shape);
        SessionRecord committed;
        try
        {
            if (!commit.IsFaulted) Normalize(plan, x, y, layer, batch);
            committed = await commit;
        }
        catch
        {
            y.Dispose();
            throw;
        }
        return new TrainStepResult(y, retain ? Retain(session, x, layer, batch) : null,
            batch?.Mean ?? layer.Running!.Mean, batch?.Variance(unbiased: false) ?? layer.Running!.Variance,
            plan.Count, batch is not null, committed);
    }

    /// <summary>The moments of a batch that is to be normalized with its own statistics.</summary>
    /// <exception cref="LayerException">The batch is too small, or not finite where that is refused.</exception>
    internal Moments BatchMoments(NormalizationPlan plan, Tensor x, NormalizerOptions options)
    {
        plan.RequireVariance(x.Shape);
        var batch = Forward.BatchMoments(plan, x.Data, compute);
        if (options.NonFinite == NonFinitePolicy.Reject && !batch.IsFinite) throw NonFinite(x.Data);
        return batch;
    }

    /// <summary>Refuses to use statistics that no data has touched, where the session asks for that.</summary>
    internal static void RequireStatistics(LayerState layer)
    {
        if (layer.Options.RequireStatistics && layer.Running is { IsInitial: true })
            throw new LayerException(LayerError.NoRunningStatistics, "the session requires running statistics and has seen no batch");
    }

    private void Normalize(NormalizationPlan plan, Tensor x, Tensor y, LayerState layer, Moments? batch)
    {
        using var map = MapOf(layer, batch);
        Forward.Apply(plan, x.Data, map, layer.Options.Activation, y.Data, compute);
    }

    /// <summary>The affine map of a forward pass: of the batch, or of the running statistics.</summary>
    internal static AffineMap MapOf(LayerState layer, Moments? batch) => batch is null
        ? AffineMap.Of(layer.Running!, layer.Gamma, layer.Beta, layer.Options.Eps)
        : AffineMap.Of(batch, layer.Gamma, layer.Beta, layer.Options.Eps);

    private string Retain(LayerSession session, Tensor x, LayerState layer, Moments? batch)
    {
        var step = new RetainedStep(session.Id, x, layer, batch);
        retained.Add(step);
        // Deleted since the commit: its steps have been dropped already, without this one.
        if (session.IsGone) retained.Drop(session.Id);
        return step.Id;
    }

    private static LayerException NonFinite(ReadOnlySpan<float> x)
    {
        var index = 0;
        while (index < x.Length && float.IsFinite(x[index])) index++;
        return new LayerException(LayerError.NonFiniteInput,
            $"x must be finite, since it moves the running statistics for ever: element {index} is {(index < x.Length ? x[index] : float.NaN)}; " +
            "a session with non_finite propagate lets it through");
    }
}
