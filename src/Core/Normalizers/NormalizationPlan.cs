using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>How a tensor of a given shape is normalized: which elements share a statistic, and the gamma and beta that go with it.</summary>
/// <param name="View">The tensor as (outer, statistics, inner); each statistic has a gamma and a beta of its own.</param>
public sealed record NormalizationPlan(ChannelView View)
{
    /// <summary>The fewest and most dimensions of a batch: [N, C] to [N, C, D, H, W].</summary>
    public const int MinRank = 2, MaxRank = 5;

    /// <summary>Number of statistics, and of elements of gamma and beta.</summary>
    public int Statistics => View.Channels;

    /// <summary>m, the number of values per statistic; 0 where there is no statistic, as with one per position of no positions.</summary>
    public long Count => Statistics == 0 ? 0 : View.CountPerChannel;

    /// <summary>The plan of batch normalization for one batch.</summary>
    /// <param name="shape">The batch's shape, [N, C, spatial…] or [N, spatial…, C].</param>
    /// <param name="options">The layer's options.</param>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/> where the batch does not fit the layer.</exception>
    public static NormalizationPlan ForBatch(Shape shape, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(options);
        if (shape.Rank is < MinRank or > MaxRank)
            throw Mismatch($"expected {MinRank}D to {MaxRank}D input (got {shape.Rank}D input of shape {shape})");
        var perActivation = ChannelView.PerActivation(shape);
        if (shape[options.ChannelAxis] != options.NumFeatures
            && !(options.Granularity == Granularity.PerActivation && perActivation.Channels == options.NumFeatures))
        {
            throw Mismatch($"expected {options.NumFeatures} channels (num_features) along axis {options.ChannelAxis}, " +
                $"got {shape[options.ChannelAxis]} in input of shape {shape}");
        }
        return new(options.Granularity == Granularity.PerActivation
            ? perActivation
            : ChannelView.PerChannel(shape, options.ChannelAxis));
    }

    /// <summary>Refuses statistics over a single value, whose variance is undefined.</summary>
    /// <param name="shape">The batch's shape, for the message.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>.</exception>
    public void RequireVariance(Shape shape)
    {
        if (Count == 1)
            throw new LayerException(LayerError.BatchTooSmall, $"expected more than 1 value per channel when training, got input size {shape}");
    }

    private static LayerException Mismatch(string message) => new(LayerError.ShapeMismatch, message);
}
