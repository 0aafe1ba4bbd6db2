using BnService.Client;

namespace BnService.Experiments.Experiments;

/// <summary>The normalizations that are compared where batches are small or of few classes.</summary>
public static class Normalizations
{
    private const int ChannelsOfGroup = 4;

    /// <summary>Their names.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["batch norm", "batch renorm", "group norm", "layer norm"];

    /// <summary>The options of one of them.</summary>
    /// <param name="kind">Its name.</param>
    /// <param name="sample">Dimensions of a sample, channels last.</param>
    /// <param name="steps">Steps of the whole training: batch renorm is batch norm for the first tenth of them, and opens its limits from then on.</param>
    public static LayerOptions Options(string kind, int[] sample, int steps) => kind switch
    {
        "batch norm" => new BatchNormOptions { NumFeatures = sample[^1], ChannelAxis = -1 },
        "batch renorm" => new BatchRenormOptions { NumFeatures = sample[^1], ChannelAxis = -1, Renorm = new RenormLimits(WarmupSteps: steps / 10) },
        "group norm" => new GroupNormOptions { NumFeatures = sample[^1], ChannelAxis = -1, NumGroups = sample[^1] / ChannelsOfGroup },
        _ => new LayerNormOptions { NormalizedShape = sample },
    };
}
