using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Inference: the affine map of the running statistics, or of the batch's own where none are tracked. Changes nothing.</summary>
internal sealed class Inference(SessionCatalog catalog, ComputeSettings compute)
{
    /// <summary>The output, the caller's to dispose while the batch still lives, and the version that made it.</summary>
    public (TensorSource Y, long Version) Run(LayerSession session, BatchInput input)
    {
        input.RequireFit();
        var layer = LayerFor(session, input.X.Shape);
        var pass = new LayerPass(layer, input.X.Shape, compute);
        if (layer.Running is not null) return (new ComputedOutput(input, pass.Output(null), null), layer.Version);
        var y = Tensor.Rent(input.X.Shape);
        try
        {
            pass.NormalizeAtOnce(input.X.Data, input.Residual is { } added ? added.Data : [], y.Data);
            return (y, layer.Version);
        }
        catch
        {
            y.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The output of a batch that is still arriving, a stretch at a time, and the version that makes it; null where no element has an
    /// output before all of them are there.
    /// </summary>
    /// <param name="session">The session.</param>
    /// <param name="shape">The shape of the batch.</param>
    public (LayerOutput Output, long Version)? RunArriving(LayerSession session, Shape shape)
    {
        var layer = LayerFor(session, shape);
        var pass = new LayerPass(layer, shape, compute);
        if (layer.Running is not null) return (pass.Output(null), layer.Version);
        if (layer.Options.Kind.IsOverBatch) return null;
        var output = pass.OutputBySample();
        // A few large samples have nearly all to be there before the first output is.
        return output.Unit > shape.Count / 4 ? null : (output, layer.Version);
    }

    private LayerState LayerFor(LayerSession session, Shape shape)
    {
        var (_, layer) = catalog.PlanFor(shape, session.Current.Layer);
        if (layer.Running is not null) TrainStep.RequireStatistics(layer);
        return layer;
    }
}
