using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a backward pass found.</summary>
/// <param name="Dx">Gradient by x; the caller's to dispose.</param>
/// <param name="Gradients">Gradients by gamma and beta.</param>
/// <param name="State">The session after the update, or as it is.</param>
internal sealed record BackwardResult(Tensor Dx, ParameterGradients Gradients, SessionRecord State);

/// <summary>Backward: through a retained step, or through x with the session's current state. An update is one more commit.</summary>
internal sealed class BackwardPass(SessionCatalog catalog, RetainedSteps retained, TrainStep training, ComputeSettings compute)
{
    /// <summary>Through a retained step, with the parameters and statistics that normalized it.</summary>
    public async Task<BackwardResult> ThroughStepAsync(
        LayerSession session, string stepId, Tensor dy, ParameterUpdate? update, Action<long> check, CancellationToken cancellationToken)
    {
        using var step = retained.Hold(stepId, session.Id);
        return await RunAsync(session, step.X, dy, step.Layer, step.Batch, update, check, cancellationToken);
    }

    /// <summary>Through x, which the server has not kept.</summary>
    /// <param name="session">The session.</param>
    /// <param name="x">The input of the forward pass.</param>
    /// <param name="dy">Gradient by its output.</param>
    /// <param name="throughBatch">Whether the gradient flows through the batch's statistics, where the session's mode lets it.</param>
    /// <param name="update">How the gradients change gamma and beta, or null.</param>
    /// <param name="check">Throws to refuse, given the version that would be changed.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<BackwardResult> ThroughInputAsync(
        LayerSession session, Tensor x, Tensor dy, bool throughBatch, ParameterUpdate? update, Action<long> check,
        CancellationToken cancellationToken)
    {
        var (plan, layer) = catalog.PlanFor(x.Shape, session.Current.Layer);
        var usesBatch = (throughBatch && layer.NormalizesWithBatch) || layer.Running is null;
        // Gradients alone poison nothing; an update that would is refused when it is applied.
        var options = layer.Options with { NonFinite = NonFinitePolicy.Propagate };
        var batch = usesBatch ? training.BatchMoments(plan, x, options) : null;
        return await RunAsync(session, x, dy, layer, batch, update, check, cancellationToken);
    }

    private async Task<BackwardResult> RunAsync(
        LayerSession session, Tensor x, Tensor dy, LayerState layer, Moments? batch, ParameterUpdate? update, Action<long> check,
        CancellationToken cancellationToken)
    {
        if (!dy.Shape.Equals(x.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"dy must have the shape of x, {x.Shape}, got {dy.Shape}");
        var plan = NormalizationPlan.ForBatch(x.Shape, layer.Options);
        var dx = Tensor.Rent(x.Shape);
        try
        {
            var gradients = Differentiate(plan, x, dy, dx, layer, batch);
            var state = await catalog.ChangeAsync(session, record =>
            {
                check(record.Layer.Version);
                return update is null || x.Shape.Count == 0
                    ? record
                    : record with { Layer = record.Layer.SizedFor(plan).Update(update, gradients) };
            }, cancellationToken);
            return new BackwardResult(dx, gradients, state);
        }
        catch
        {
            dx.Dispose();
            throw;
        }
    }

    private ParameterGradients Differentiate(NormalizationPlan plan, Tensor x, Tensor dy, Tensor dx, LayerState layer, Moments? batch)
    {
        ReadOnlySpan<float> gradient = dy.Data;
        if (layer.Options.Activation == Activation.Relu)
        {
            using var map = TrainStep.MapOf(layer, batch);
            Backward.ThroughRelu(plan, x.Data, gradient, map, dx.Data, compute);
            gradient = dx.Data;
        }
        return batch is null
            ? Backward.Inference(plan, x.Data, gradient, layer.Running!, layer.Gamma, layer.Options.Eps, dx.Data, compute)
            : Backward.Training(plan, x.Data, gradient, batch, layer.Gamma, layer.Options.Eps, dx.Data, compute);
    }
}
