using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// A training batch that is still arriving: refused as soon as its shape does not fit, and summed while the rest of it is on its way.
/// </summary>
internal sealed class ArrivingBatch(SessionCatalog catalog, LayerSession session, ComputeSettings compute) : IArrivals, IDisposable
{
    private const string Input = "x";
    private ArrivingMoments? _moments;

    /// <inheritdoc/>
    public void Begin(string field, Tensor tensor)
    {
        if (field != Input) return;
        var (plan, layer) = catalog.PlanFor(tensor.Shape, session.Current.Layer);
        if (layer.NormalizesWithBatch && ArrivingMoments.Fits(plan) && new LayerPass(layer, tensor.Shape, compute).GathersWhole)
            _moments = new ArrivingMoments(plan, tensor, compute);
    }

    /// <inheritdoc/>
    public void Arrived(string field, int count)
    {
        if (field == Input) _moments?.Advance(count);
    }

    /// <summary>The moments of the whole batch; null where they have not been gathered.</summary>
    public Moments? Finish() => _moments?.Finish();

    /// <inheritdoc/>
    public void Dispose() => _moments?.Dispose();
}
