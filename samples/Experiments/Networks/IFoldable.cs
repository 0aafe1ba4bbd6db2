using BnService.Client;

namespace BnService.Experiments.Networks;

/// <summary>A layer that can do the work of the batch norm behind it.</summary>
public interface IFoldable : ILayer
{
    /// <summary>A layer with the session's inference folded into it, by the service.</summary>
    Task<ILayer> FoldAsync(LayerSession session, CancellationToken cancellationToken);
}
