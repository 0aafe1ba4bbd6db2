using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>Which elements share a statistic, and which a gamma and beta.</summary>
public enum Reduction
{
    /// <summary>A statistic per channel of the view, which has a gamma and beta of its own.</summary>
    Channels,

    /// <summary>A statistic per group of adjacent channels of the view; gamma and beta per channel, the same for every sample.</summary>
    Groups,

    /// <summary>A statistic per channel of the view, which is a row; gamma and beta per position within the row.</summary>
    Rows,
}

/// <summary>How a tensor of a given shape is normalized. Layouts and kinds differ in this plan, not in the kernels.</summary>
public sealed record Layout
{
    /// <summary>The fewest and most dimensions of a batch: [N, C] to [N, C, D, H, W].</summary>
    public const int MinRank = 2, MaxRank = 5;

    // Samples that are normalized by themselves are taken together until there is enough for several threads.
    private const long SliceElements = 1 << 20;

    private Layout(ChannelView view) => View = view;

    /// <summary>What shares a statistic.</summary>
    public Reduction Reduction { get; private init; }

    /// <summary>Whether a mean is subtracted.</summary>
    public bool HasMean { get; private init; } = true;

    /// <summary>One slice of the tensor as (outer, channels, inner).</summary>
    public ChannelView View { get; private init; }

    /// <summary>Number of slices, which lie one behind the other and are normalized each by itself; the last one may be shorter.</summary>
    public int Slices { get; private init; } = 1;

    /// <summary>Number of elements of the tensor.</summary>
    public int Elements { get; private init; }

    /// <summary>Adjacent channels of the view that share a statistic.</summary>
    public int ChannelsPerStatistic { get; private init; } = 1;

    /// <summary>Number of statistics of the tensor.</summary>
    public int Statistics { get; private init; }

    /// <summary>Number of elements of gamma and of beta.</summary>
    public int Parameters { get; private init; }

    /// <summary>m, the number of values per statistic; 0 where there is no statistic, as with one per position of no positions.</summary>
    public long Count { get; private init; }

    // A row of one value is normalized to beta, as in PyTorch.
    private bool NeedsVariance { get; init; } = true;

    /// <summary>The plan of a layer for one batch.</summary>
    /// <param name="shape">The batch's shape: [N, C, spatial…] or [N, spatial…, C], or for kinds over rows […, normalized_shape].</param>
    /// <param name="options">The layer's options; where they are over the channels of positions the plan is that of <see
    /// cref="PositionRows"/>.</param>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/> where the batch does not fit the layer.</exception>
    public static Layout Of(Shape shape, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        RequireRank(shape);
        if (options.IsOverChannels) return ForRows(RowsOf(shape, options), options);
        if (options.Kind.IsOverRows) return ForRows(shape, options);
        RequireChannels(shape, options);
        return options.Kind switch
        {
            NormalizerKind.GroupNorm =>
                ForGroups(shape, options.ChannelAxis, options.NumFeatures, options.NumFeatures / options.NumGroups!.Value),
            NormalizerKind.InstanceNorm => ForGroups(shape, options.ChannelAxis, options.NumFeatures, 1),
            _ => ForChannels(options.Granularity == Granularity.PerActivation
                ? ChannelView.PerActivation(shape)
                : ChannelView.PerChannel(shape, options.ChannelAxis)),
        };
    }

    /// <summary>
    /// The plan of a layer by which statistics belong to elements in the order in which a batch lies, also where that is not normalized.
    /// </summary>
    /// <inheritdoc cref="Of"/>
    public static Layout ForElements(Shape shape, NormalizerOptions options)
    {
        var plan = Of(shape, options);
        if (!options.IsOverChannels || plan.Elements == 0) return plan;
        // Of [N, C, spatial…]: a statistic per position, one sample after the other.
        var positions = plan.Statistics / shape[0];
        return new(new ChannelView(shape[1], positions, 1))
        {
            HasMean = plan.HasMean,
            Slices = shape[0],
            Elements = plan.Elements,
            Statistics = plan.Statistics,
            Parameters = positions,
            Count = plan.Count,
        };
    }

    /// <summary>The plan for normalizing with running statistics, which belong to channels whatever the kind.</summary>
    /// <param name="shape">The batch's shape.</param>
    /// <param name="options">The layer's options; a kind that can track statistics.</param>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/> where the batch does not fit the layer.</exception>
    public static Layout ForRunningStatistics(Shape shape, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return Of(shape, options.Kind.IsOverBatch ? options : options with { Kind = NormalizerKind.BatchNorm });
    }

    /// <summary>The plan of some of the samples, for plans over channels.</summary>
    /// <param name="samples">Number of samples of the tensor, its first dimension.</param>
    /// <param name="part">How many of them.</param>
    public Layout ForSamples(int samples, int part)
    {
        // A single channel was seen as one long run, whichever way its samples lie.
        var view = View.Channels == 1
            ? new ChannelView(1, 1, (int)(View.Count / Math.Max(samples, 1) * part))
            : View with { Outer = View.Outer / Math.Max(samples, 1) * part };
        return ForChannels(view);
    }

    /// <summary>
    /// The plan of some of the positions, side by side, for plans over channels: all values of a channel, then those of the next.
    /// </summary>
    /// <param name="count">Number of values per channel.</param>
    public Layout ForPositions(int count) => ForChannels(View.IsColumns ? View with { Outer = count } : new(1, View.Channels, count));

    /// <summary>The elements of a slice.</summary>
    public (int Start, ChannelView View) Slice(int index)
    {
        var start = (int)(index * View.Count);
        if (Slices == 1 || Elements - start >= View.Count) return (start, View);
        // Only slices of whole samples, whose channels stand one behind the other, are ever shorter.
        return (start, View with { Channels = (Elements - start) / View.Inner });
    }

    /// <summary>Refuses a batch of too few or too many dimensions.</summary>
    /// <param name="shape">The batch's shape.</param>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/>.</exception>
    public static void RequireRank(Shape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        if (shape.Rank is < MinRank or > MaxRank)
            throw Mismatch($"expected {MinRank}D to {MaxRank}D input (got {shape.Rank}D input of shape {shape})");
    }

    /// <summary>Refuses statistics over a single value, whose variance is undefined.</summary>
    /// <param name="shape">The batch's shape, for the message.</param>
    /// <param name="kind">The layer's kind, for the message.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>.</exception>
    public void RequireVariance(Shape shape, NormalizerKind kind = NormalizerKind.BatchNorm) => RequireVariance(shape, kind, Count);

    /// <summary>Refuses statistics over a single value, where this tensor is a part of what shares them.</summary>
    /// <param name="shape">The part's shape, for the message.</param>
    /// <param name="kind">The layer's kind, for the message.</param>
    /// <param name="count">Number of values per statistic, those of all parts together.</param>
    /// <exception cref="LayerException"><see cref="LayerError.BatchTooSmall"/>.</exception>
    public void RequireVariance(Shape shape, NormalizerKind kind, long count)
    {
        if (count != 1 || !NeedsVariance) return;
        var each = kind switch
        {
            NormalizerKind.GroupNorm => "group and sample",
            NormalizerKind.InstanceNorm => "channel and sample",
            _ => "channel when training",
        };
        throw new LayerException(LayerError.BatchTooSmall, $"x: expected more than 1 value per {each}, got input size {shape}");
    }

    internal void RequireParameters(int? length, string name)
    {
        // Without elements nothing per channel is read.
        if (Elements > 0 && length is { } given && given != Parameters)
            throw new ArgumentException($"expected {Parameters} values, got {given}", name);
    }

    internal void RequireStatistics(int statistics, string name)
    {
        if (Elements > 0 && statistics != Statistics)
            throw new ArgumentException($"expected values of {Statistics} statistics, got {statistics}", name);
    }

    internal void RequireLength(int length, string name)
    {
        if (length != Elements) throw new ArgumentException($"expected {Elements} elements, got {length}", name);
    }

    private static Layout ForChannels(ChannelView view) => new(view)
    {
        Elements = (int)view.Count,
        Statistics = view.Channels,
        Parameters = view.Channels,
        Count = view.Channels == 0 ? 0 : view.CountPerChannel,
    };

    private static Layout ForGroups(Shape shape, int channelAxis, int channels, int perGroup)
    {
        var samples = shape[0];
        var spatial = shape.Count / Math.Max(1, samples * channels);
        // Without positions between them a sample's channels are adjacent either way.
        var isLast = channelAxis == -1 || spatial == 1;
        var sample = Math.Max(1L, (long)channels * spatial);
        var together = isLast ? 1 : (int)Math.Clamp(SliceElements / sample, 1, Math.Max(samples, 1));
        var view = isLast ? new ChannelView(spatial, channels, 1) : new ChannelView(1, together * channels, spatial);
        return new(view)
        {
            Reduction = Reduction.Groups,
            Elements = shape.Count,
            Slices = shape.Count == 0 ? 0 : (samples + together - 1) / together,
            ChannelsPerStatistic = perGroup,
            Statistics = shape.Count == 0 ? 0 : samples * (channels / perGroup),
            Parameters = channels,
            Count = (long)perGroup * spatial,
        };
    }

    // The plan of the rows: the tensor itself has to be transposed.
    private static Shape RowsOf(Shape shape, NormalizerOptions options) =>
        shape[1] == options.NumFeatures ? PositionRows.Of(shape) : throw Mismatch(
        $"expected {options.NumFeatures} channels (normalized_shape) along axis 1 (channel_axis), got {shape[1]} in input of shape " +
            $"{shape}");

    private static Layout ForRows(Shape shape, NormalizerOptions options)
    {
        var trailing = options.NormalizedShape!;
        var leading = shape.Rank - trailing.Count;
        if (leading < 0 || !trailing.SequenceEqual(shape.Dimensions[leading..]))
            throw Mismatch($"expected input with shape [*, {string.Join(", ", trailing)}], got {shape}");
        var row = trailing.Aggregate(1, (product, dimension) => product * dimension);
        var rows = shape.Count / row;
        // A row of one value is a channel of its own, with the only gamma and beta there is.
        var isSingle = row == 1;
        var together = isSingle ? (int)Math.Min(rows, SliceElements) : rows;
        return new(new ChannelView(1, together, row))
        {
            Reduction = isSingle ? Reduction.Groups : Reduction.Rows,
            HasMean = options.Kind.HasMean,
            Elements = shape.Count,
            Slices = !isSingle ? 1 : rows == 0 ? 0 : (rows + together - 1) / together,
            Statistics = rows,
            Parameters = row,
            Count = rows == 0 ? 0 : row,
            NeedsVariance = false,
        };
    }

    private static void RequireChannels(Shape shape, NormalizerOptions options)
    {
        if (shape[options.ChannelAxis] == options.NumFeatures) return;
        if (options.Granularity == Granularity.PerActivation && ChannelView.PerActivation(shape).Channels == options.NumFeatures) return;
        throw Mismatch($"expected {options.NumFeatures} channels (num_features) along axis {options.ChannelAxis}, " +
            $"got {shape[options.ChannelAxis]} in input of shape {shape}");
    }

    private static LayerException Mismatch(string message) => new(LayerError.ShapeMismatch, $"x: {message}");
}
