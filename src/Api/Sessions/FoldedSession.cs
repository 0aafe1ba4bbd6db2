using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Sessions;

/// <summary>A session's normalization, folded into a layer. Only inference by running statistics, one per channel, is a map of channels.</summary>
internal static class FoldedSession
{
    /// <summary>The folded layer; the caller's to dispose.</summary>
    /// <exception cref="LayerException">The session's normalization is no map of channels, or the layer does not fit it.</exception>
    public static FoldedLayer Of(LayerState layer, LayerToFold toFold)
    {
        var options = layer.Options;
        if (!options.Kind.CanTrack)
            throw Invalid($"{options.Kind.WireName} cannot be folded: it normalizes each sample with statistics of its own, also in inference");
        if (layer.Running is not { } running)
        {
            throw new LayerException(LayerError.NoRunningStatistics,
                "folding needs running statistics, and the session keeps none (track_running_stats is false): it normalizes each batch with the batch's own");
        }
        if (options.Granularity == Granularity.PerActivation || layer.Features != options.NumFeatures)
            throw Invalid("granularity must be per_channel to be folded, got per_activation: with a map for each position no weight that is shared by positions can hold it");
        if (options.Activation != Activation.None && toFold.Position == FoldPosition.Before)
        {
            throw Invalid($"activation must be none with position before, got {options.Activation.ToString().ToLowerInvariant()}: " +
                "it stands between the normalization and the layer, so that the two are not one affine map");
        }
        TrainStep.RequireStatistics(layer);
        return Folding.Fold(toFold, new FoldedChannels(running, layer.EffectiveGamma, layer.Beta, options.Eps));
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}
