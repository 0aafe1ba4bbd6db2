using System.Collections.Immutable;

namespace BnService.Core.Tensors;

/// <summary>The dimensions of a tensor, outermost first (row-major), and their product.</summary>
public sealed class Shape : IEquatable<Shape>
{
    /// <summary>The largest number of dimensions of a tensor.</summary>
    public const int MaxRank = 8;

    /// <summary>A shape of the given dimensions.</summary>
    /// <param name="dimensions">Up to <see cref="MaxRank"/> dimensions, each ≥ 0.</param>
    /// <exception cref="LayerException">A negative dimension, too many of them, or more than <see cref="int.MaxValue"/>
    /// elements.</exception>
    public Shape(params ReadOnlySpan<int> dimensions)
    {
        if (dimensions.Length > MaxRank)
            throw new LayerException(LayerError.ShapeMismatch, $"a tensor has at most {MaxRank} dimensions, got {dimensions.Length}");
        long count = 1;
        var isEmpty = false;
        foreach (var dimension in dimensions)
        {
            if (dimension < 0)
                throw new LayerException(LayerError.ShapeMismatch, $"the dimensions of a shape must be 0 or more, got {Text(dimensions)}");
            isEmpty |= dimension == 0;
            count = Math.Min(count * Math.Max(dimension, 1), 1L << 31);
        }
        if (!isEmpty && count > int.MaxValue)
            throw new LayerException(LayerError.ShapeMismatch,
                $"a tensor has at most {int.MaxValue} elements, got shape {Text(dimensions)}");
        Dimensions = [.. dimensions];
        Count = isEmpty ? 0 : (int)count;
    }

    /// <summary>The dimensions, outermost first.</summary>
    public ImmutableArray<int> Dimensions { get; }

    /// <summary>Number of dimensions.</summary>
    public int Rank => Dimensions.Length;

    /// <summary>Number of elements: the product of the dimensions.</summary>
    public int Count { get; }

    /// <summary>Dimension <paramref name="axis"/>; negative axes count from the end.</summary>
    public int this[int axis] => Dimensions[axis < 0 ? Rank + axis : axis];

    /// <inheritdoc/>
    public bool Equals(Shape? other) => other is not null && Dimensions.AsSpan().SequenceEqual(other.Dimensions.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as Shape);

    /// <inheritdoc/>
    public override int GetHashCode() => Dimensions.Aggregate(Rank, HashCode.Combine);

    /// <summary>The shape as users write it: <c>[4, 3]</c>.</summary>
    public override string ToString() => Text(Dimensions.AsSpan());

    private static string Text(ReadOnlySpan<int> dimensions) => $"[{string.Join(", ", dimensions.ToArray())}]";
}

/// <summary>
/// A tensor seen as (outer, channels, inner), row-major. The two memory shapes of every normalizer are inner &gt; 1 (a channel owns
/// contiguous runs: NCHW is (N, C, H·W)) and inner = 1 (channels are adjacent: dense [N, C] is (N, C, 1), channels-last is (N·H·W, C, 1)).
/// </summary>
/// <param name="Outer">Number of repetitions of the channels: rows, or samples.</param>
/// <param name="Channels">Number of channels.</param>
/// <param name="Inner">Number of adjacent elements that belong to one channel.</param>
public readonly record struct ChannelView(int Outer, int Channels, int Inner)
{
    /// <summary>Whether channels are adjacent in memory.</summary>
    public bool IsColumns => Inner == 1;

    /// <summary>Number of values per channel.</summary>
    public long CountPerChannel => (long)Outer * Inner;

    /// <summary>Number of elements.</summary>
    public long Count => CountPerChannel * Channels;

    /// <summary>The view of a tensor whose channels lie along <paramref name="channelAxis"/>, statistics over all else.</summary>
    /// <param name="shape">A shape of rank 2 or more.</param>
    /// <param name="channelAxis">1, or −1 for channels last.</param>
    public static ChannelView PerChannel(Shape shape, int channelAxis)
    {
        var axis = channelAxis < 0 ? shape.Rank + channelAxis : channelAxis;
        return Of(Product(shape, 0, axis), shape[axis], Product(shape, axis + 1, shape.Rank));
    }

    /// <summary>The view with a statistic of its own for each position of a sample, over the first dimension alone.</summary>
    /// <param name="shape">A shape of rank 2 or more.</param>
    public static ChannelView PerActivation(Shape shape) => Of(shape[0], Product(shape, 1, shape.Rank), 1);

    // One channel is one long run, whichever way it is looked at.
    private static ChannelView Of(int outer, int channels, int inner) =>
        channels == 1 ? new(1, 1, outer * inner) : new(outer, channels, inner);

    // A product of some of the dimensions can be large where another one is 0: the tensor is then empty and so is the view.
    private static int Product(Shape shape, int from, int to)
    {
        long product = 1;
        for (var axis = from; axis < to; axis++) product = Math.Min(product * shape[axis], int.MaxValue);
        return (int)product;
    }
}
