using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a one-shot normalization gave.</summary>
/// <param name="Y">The output; the caller's to dispose.</param>
/// <param name="Statistics">The statistics that normalized it.</param>
/// <param name="Backward">The gradients where they were asked for; the tensors are the caller's to dispose.</param>
internal sealed record OneShotResult(Tensor Y, StepStatistics Statistics, (Tensor Dx, Tensor? Dresidual, ParameterGradients Gradients)? Backward);

/// <summary>A normalization without a session: a layer that lives for one call.</summary>
internal sealed class OneShot(SessionCatalog catalog, PassMeter passes, ComputeGate gate, ComputeSettings compute)
{
    /// <summary>Normalizes, and takes a gradient back where one is given.</summary>
    /// <param name="layer">The layer; its parameters may still be those of its start.</param>
    /// <param name="parameters">Sets gamma, beta and running statistics, once the layer has been sized for the batch.</param>
    /// <param name="input">The batch.</param>
    /// <param name="dy">The gradient by the output, or null.</param>
    /// <param name="cancellationToken">Ends waiting for other batches.</param>
    public async Task<OneShotResult> RunAsync(
        LayerState layer, Func<LayerState, LayerState> parameters, BatchInput input, Tensor? dy, CancellationToken cancellationToken)
    {
        input.RequireFit();
        if (dy is not null && !dy.Shape.Equals(input.X.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"backward.dy must have the shape of x, {input.X.Shape}, got {dy.Shape}");
        var batch = catalog.BatchOf(layer, input.X.Shape, compute);
        batch = batch.On(parameters(batch.Layer));
        var rented = new List<Tensor>();
        try
        {
            var y = Rent(input.X, rented);
            using var turn = await gate.EnterAsync(input.X.Shape, cancellationToken);
            StepStatistics statistics;
            using (passes.Begin(PassKind.Moments, input.X.Shape))
                statistics = batch.Measure(input.X, input.Mask, isTraining: dy is not null);
            TrainStep.RequireFinite(statistics, input.X, batch.Layer.Options);
            TrainStep.RequireRange(statistics, input.X);
            using (passes.Begin(PassKind.Normalize, input.X.Shape)) batch.Write(input.X, statistics, input.Residual, y);
            if (dy is null) return new(y, statistics, null);
            var dx = Rent(input.X, rented);
            var dresidual = input.Residual is null ? null : Rent(input.X, rented);
            using var timed = passes.Begin(PassKind.Gradients, input.X.Shape);
            var gradients = batch.Gradients(input.X, dy, statistics, input.Residual, dx, dresidual);
            return new(y, statistics, (dx, dresidual, gradients));
        }
        catch
        {
            rented.ForEach(tensor => tensor.Dispose());
            throw;
        }
    }

    private static Tensor Rent(Tensor like, List<Tensor> rented)
    {
        rented.Add(Tensor.Rent(like.Shape, like.Precision));
        return rented[^1];
    }
}
