using BnService.Core;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Inference: the affine map of the running statistics, or of the batch's own where none are tracked. Changes nothing.</summary>
internal sealed class Inference(SessionCatalog catalog, TrainStep training, ComputeSettings compute)
{
    /// <summary>The output, the caller's to dispose, and the version that made it.</summary>
    public (Tensor Y, long Version) Run(LayerSession session, Tensor x)
    {
        var (plan, layer) = catalog.PlanFor(x.Shape, session.Current.Layer);
        var batch = layer.Running is null ? training.BatchMoments(plan, x, layer.Options with { NonFinite = NonFinitePolicy.Propagate }) : null;
        if (batch is null) TrainStep.RequireStatistics(layer);
        using var map = TrainStep.MapOf(layer, batch);
        var y = Tensor.Rent(x.Shape);
        Forward.Apply(plan, x.Data, map, layer.Options.Activation, y.Data, compute);
        return (y, layer.Version);
    }
}
