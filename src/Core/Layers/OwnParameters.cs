using BnService.Core.Normalizers;

namespace BnService.Core.Layers;

/// <summary>gamma and beta that a caller brings for one call, in place of the layer's; null leaves the layer's as it is.</summary>
/// <param name="Gamma">γ, finite.</param>
/// <param name="Beta">β, finite.</param>
public sealed record OwnParameters(double[]? Gamma, double[]? Beta)
{
    /// <summary>The parameters that were sent; null where none were.</summary>
    public static OwnParameters? Of(double[]? gamma, double[]? beta) => gamma is null && beta is null ? null : new(gamma, beta);

    /// <summary>A layer with these parameters, whether or not it has any itself, as the functional forms of the frameworks take them.</summary>
    /// <param name="layer">The layer, sized for the batch.</param>
    /// <exception cref="LayerException">A wrong length, a value that is not finite, or a beta for a kind that has none.</exception>
    public LayerState On(LayerState layer)
    {
        ArgumentNullException.ThrowIfNull(layer);
        if (Beta is not null && !layer.Options.Kind.HasMean)
            throw new LayerException(LayerError.InvalidOption, $"beta was sent, but {layer.Options.Kind.WireName} has a gamma and no beta");
        foreach (var (values, name) in new[] { (Gamma, "gamma"), (Beta, "beta") })
        {
            if (values is null) continue;
            StateValues.RequireLength(name, values, layer.Features);
            StateValues.RequireFinite(name, values);
        }
        return layer with { Gamma = Gamma ?? layer.Gamma, Beta = Beta ?? layer.Beta };
    }
}
