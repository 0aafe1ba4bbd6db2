using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Inference: the affine map of the running statistics, or of the batch's own where none are tracked. Changes nothing.</summary>
internal sealed class Inference(SessionCatalog catalog, PassMeter passes, ComputeGate gate, ComputeSettings compute)
{
    /// <summary>The output, the caller's to dispose while the batch still lives, and what rounding the batch to float32 has spoilt.</summary>
    /// <param name="state">The state to infer with.</param>
    /// <param name="input">The batch.</param>
    /// <param name="digits">What it was before it was rounded, or null.</param>
    /// <param name="cancellationToken">Ends waiting for other batches.</param>
    public async ValueTask<(TensorSource Y, Finding? Rounding)> RunAsync(
        LayerState state, BatchInput input, SentDigits? digits, CancellationToken cancellationToken)
    {
        input.RequireFit();
        var batch = input.On(BatchOf(state, input.X.Shape));
        var layer = batch.Layer;
        var isWide = input.X.Precision == Precision.Float64;
        if (layer.Running is not null && !isWide)
            return (new ComputedOutput(input, passes.Metered(batch.Output(null), input.X.Shape)), digits?.FindingFrom(layer, null));
        var y = Tensor.Rent(input.X.Shape, input.X.Precision);
        try
        {
            using var turn = await gate.EnterAsync(input.X.Shape, cancellationToken);
            using var timed = passes.Begin(PassKind.Normalize, input.X.Shape);
            StepStatistics? statistics = null;
            if (layer.Running is not null) batch.Write(input.X, null, input.Residual, y);
            else statistics = batch.MeasureAndWrite(input.X, input.Residual, y, isTraining: false);
            if (statistics is not null) TrainStep.RequireRange(statistics, input.X);
            return (y, digits?.FindingFrom(layer, statistics));
        }
        catch
        {
            y.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The output of a batch that is still arriving, a stretch at a time; null where no element has an output before all of them are there.
    /// </summary>
    /// <param name="state">The state to infer with.</param>
    /// <param name="shape">The shape of the batch.</param>
    /// <param name="own">gamma and beta of this call alone; null for the session's.</param>
    public LayerOutput? RunArriving(LayerState state, Shape shape, OwnParameters? own = null)
    {
        var batch = BatchOf(state, shape);
        if (own is not null) batch = batch.On(own.On(batch.Layer));
        var layer = batch.Layer;
        if (layer.Options.Precision == Precision.Float64 || (layer.Running is null && batch.IsOverBatch)) return null;
        var output = batch.Output(null);
        // A few large samples have nearly all to be there before the first output is.
        return layer.Running is null && output.Unit > shape.Count / 4 ? null : passes.Metered(output, shape);
    }

    private Batch BatchOf(LayerState state, Shape shape)
    {
        var batch = catalog.BatchOf(state, shape, compute);
        if (batch.Layer.Running is not null) TrainStep.RequireStatistics(batch.Layer);
        return batch;
    }
}
