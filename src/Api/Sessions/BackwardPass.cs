using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a backward pass found.</summary>
/// <param name="Dx">Gradient by x; the caller's to dispose.</param>
/// <param name="Dresidual">Gradient by the residual where one was added; the caller's to dispose.</param>
/// <param name="Gradients">Gradients by gamma and beta.</param>
/// <param name="State">The session after the update, or as it is.</param>
internal sealed record BackwardResult(Tensor Dx, Tensor? Dresidual, ParameterGradients Gradients, SessionRecord State);

/// <summary>Backward: through a retained step, or through x with the session's current state. An update is one more commit.</summary>
internal sealed class BackwardPass(SessionCatalog catalog, RetainedSteps retained, ComputeSettings compute)
{
    /// <summary>Through a retained step, with the parameters and statistics that normalized it.</summary>
    public async Task<BackwardResult> ThroughStepAsync(
        LayerSession session, string stepId, Tensor dy, ParameterUpdate? update, Action<long> check, CancellationToken cancellationToken)
    {
        using var step = retained.Hold(stepId, session.Id);
        return await RunAsync(session, step.Input, dy, step.Layer, step.Statistics, update, check, cancellationToken);
    }

    /// <summary>Through x, which the server has not kept.</summary>
    /// <param name="session">The session.</param>
    /// <param name="input">The input of the forward pass.</param>
    /// <param name="dy">Gradient by its output.</param>
    /// <param name="throughBatch">Whether the gradient flows through the batch's statistics, where the session's mode lets it.</param>
    /// <param name="update">How the gradients change gamma and beta, or null.</param>
    /// <param name="check">Throws to refuse, given the version that would be changed.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<BackwardResult> ThroughInputAsync(
        LayerSession session, BatchInput input, Tensor dy, bool throughBatch, ParameterUpdate? update, Action<long> check,
        CancellationToken cancellationToken)
    {
        input.RequireFit();
        var (_, layer) = catalog.PlanFor(input.X.Shape, session.Current.Layer);
        var usesBatch = (throughBatch && layer.NormalizesWithBatch) || layer.Running is null;
        var pass = new LayerPass(layer, input.X.Shape, compute);
        pass.RequireMask(input.Mask);
        // Gradients alone poison nothing; an update that would is refused when it is applied.
        var statistics = usesBatch ? pass.Statistics(input.X.Data, input.Mask) : null;
        return await RunAsync(session, input, dy, layer, statistics, update, check, cancellationToken);
    }

    private async Task<BackwardResult> RunAsync(
        LayerSession session, BatchInput input, Tensor dy, LayerState layer, StepStatistics? statistics, ParameterUpdate? update, Action<long> check,
        CancellationToken cancellationToken)
    {
        var shape = input.X.Shape;
        if (!dy.Shape.Equals(shape))
            throw new LayerException(LayerError.ShapeMismatch, $"dy must have the shape of x, {shape}, got {dy.Shape}");
        var dx = Tensor.Rent(shape);
        var dresidual = input.Residual is null ? null : Tensor.Rent(shape);
        try
        {
            var gradients = Differentiate(input, dy, layer, statistics, dx, dresidual);
            var state = await catalog.ChangeAsync(session, record =>
            {
                check(record.Layer.Version);
                return update is null || shape.Count == 0
                    ? record
                    : record with { Layer = record.Layer.SizedFor(NormalizationPlan.ForBatch(shape, record.Layer.Options)).Update(update, gradients) };
            }, cancellationToken);
            return new BackwardResult(dx, dresidual, gradients, state);
        }
        catch
        {
            dx.Dispose();
            dresidual?.Dispose();
            throw;
        }
    }

    private ParameterGradients Differentiate(
        BatchInput input, Tensor dy, LayerState layer, StepStatistics? statistics, Tensor dx, Tensor? dresidual) =>
        new LayerPass(layer, input.X.Shape, compute).Differentiate(
            input.X.Data, dy.Data, statistics, input.Residual is { } residual ? residual.Data : [], dx.Data, dresidual is null ? [] : dresidual.Data);
}
