using System.Collections.Immutable;

namespace BnService.Core.Tensors;

/// <summary>The dimensions of a tensor, outermost first (row-major), and their product.</summary>
public sealed class Shape : IEquatable<Shape>
{
    /// <summary>The largest number of dimensions of a tensor.</summary>
    public const int MaxRank = 8;

    /// <summary>A shape of the given dimensions.</summary>
    /// <param name="dimensions">Up to <see cref="MaxRank"/> dimensions, each ≥ 0.</param>
    /// <exception cref="LayerException">A negative dimension, too many of them, or more than <see cref="int.MaxValue"/> elements.</exception>
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
            throw new LayerException(LayerError.ShapeMismatch, $"a tensor has at most {int.MaxValue} elements, got shape {Text(dimensions)}");
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
