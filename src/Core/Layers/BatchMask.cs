using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>Which values of a batch count in its statistics: those of whole samples, or of positions in them, with all their channels.</summary>
/// <param name="Shape">[N], or the shape of the batch without its channel axis.</param>
/// <param name="Values">True for what counts, row-major.</param>
public sealed record BatchMask(Shape Shape, bool[] Values)
{
    /// <summary>A mask with a value per sample.</summary>
    public static BatchMask OfSamples(params bool[] values)
    {
        ArgumentNullException.ThrowIfNull(values);
        return new(new Shape([values.Length]), values);
    }

    /// <summary>Refuses a mask that does not fit a batch.</summary>
    /// <param name="batch">The batch's shape.</param>
    /// <param name="options">The layer's options.</param>
    /// <exception cref="LayerException">It does not fit, or belongs to another kind.</exception>
    public void RequireFit(Shape batch, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(options);
        if (!options.Kind.IsOverBatch)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"mask belongs to batch_norm and batch_renorm; {options.Kind.WireName} normalizes each sample by itself");
        }
        if (Shape.Rank == 1 && Shape[0] == batch[0]) return;
        var positions = Positions(batch, options.ChannelAxis);
        if (options.Granularity == Granularity.PerActivation)
        {
            throw new LayerException(LayerError.ShapeMismatch,
                $"mask must have the shape [{batch[0]}], one value per sample, got {Shape}: with granularity per_activation " +
                "all statistics have the same number of values");
        }
        if (positions.Equals(Shape)) return;
        var orPositions = positions.Rank == 1 ? "" : $", or {positions}, the shape of x without its channel axis";
        throw new LayerException(LayerError.ShapeMismatch, $"mask must have the shape [{batch[0]}], one value per sample{orPositions}; got {Shape}");
    }

    /// <summary>The mask with a value for each value of a statistic, in their order: a sample's is that of all its positions.</summary>
    /// <param name="count">Number of values per statistic.</param>
    internal bool[] Expanded(int count)
    {
        if (Values.Length == 0 || Values.Length == count) return Values;
        var (each, expanded) = (count / Values.Length, new bool[count]);
        for (var i = 0; i < Values.Length; i++) expanded.AsSpan(i * each, each).Fill(Values[i]);
        return expanded;
    }

    private static Shape Positions(Shape batch, int channelAxis)
    {
        var axis = channelAxis < 0 ? batch.Rank + channelAxis : channelAxis;
        return new([.. batch.Dimensions.RemoveAt(axis)]);
    }
}
