using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Inference: the affine map of the running statistics, or of the batch's own where none are tracked. Changes nothing.</summary>
internal sealed class Inference(SessionCatalog catalog, ComputeSettings compute)
{
    /// <summary>The output, the caller's to dispose, and the version that made it.</summary>
    public (Tensor Y, long Version) Run(LayerSession session, BatchInput input)
    {
        input.RequireFit();
        var (_, layer) = catalog.PlanFor(input.X.Shape, session.Current.Layer);
        if (layer.Running is not null) TrainStep.RequireStatistics(layer);
        var pass = new LayerPass(layer, input.X.Shape, compute);
        var y = Tensor.Rent(input.X.Shape);
        try
        {
            ReadOnlySpan<float> residual = input.Residual is { } added ? added.Data : [];
            if (layer.Running is not null) pass.Normalize(input.X.Data, null, residual, y.Data);
            else pass.NormalizeAtOnce(input.X.Data, residual, y.Data);
            return (y, layer.Version);
        }
        catch
        {
            y.Dispose();
            throw;
        }
    }
}
