using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>A weight as (rows, columns, kernel), with the channel and the output that each of its elements belongs to.</summary>
/// <param name="Rows">First dimension of the weight.</param>
/// <param name="Columns">Second dimension: the channels within a group.</param>
/// <param name="Kernel">Product of the other dimensions.</param>
/// <param name="RowsPerGroup">Rows of a group.</param>
/// <param name="IsTransposed">Whether rows are inputs, as in a transposed convolution.</param>
/// <param name="IsAfter">Whether the normalized channels are the outputs.</param>
internal readonly record struct FoldedView(int Rows, int Columns, int Kernel, int RowsPerGroup, bool IsTransposed, bool IsAfter)
{
    // conv1d to conv3d
    private const int MinConvRank = 3, MaxConvRank = 5;

    /// <summary>Number of output channels.</summary>
    public int Outputs => IsTransposed ? Groups * Columns : Rows;

    private int Groups => RowsPerGroup == 0 ? 0 : Rows / RowsPerGroup;

    /// <summary>The view of a layer's weight.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="channels">Number of normalized channels.</param>
    /// <exception cref="LayerException">The weight does not fit them.</exception>
    public static FoldedView Of(LayerToFold layer, int channels)
    {
        var (shape, groups) = (layer.Weight.Shape, layer.Groups);
        var isTransposed = layer.Kind == FoldableLayer.ConvTranspose;
        RequireRank(layer.Kind, shape);
        var (rows, columns) = (shape[0], shape[1]);
        if (rows % groups != 0)
            throw new LayerException(LayerError.InvalidOption, $"groups must divide the {rows} {(isTransposed ? "input" : "output")} channels of weight {shape}, got {groups}");
        var isAfter = layer.Position == FoldPosition.After;
        var alongRows = isAfter != isTransposed;
        if ((alongRows ? rows : (long)columns * groups) != channels)
        {
            throw new LayerException(LayerError.ShapeMismatch,
                $"expected weight with {channels} {(isAfter ? "output" : "input")} channels (num_features), got shape {shape}" +
                (alongRows || layer.Kind == FoldableLayer.Linear ? "" : $" with groups {groups}, whose second dimension is the {(isAfter ? "output" : "input")} channels of one group"));
        }
        var kernel = shape.Dimensions.Skip(2).Aggregate(1L, (product, dimension) => Math.Min(product * dimension, int.MaxValue));
        return new(rows, columns, shape.Count == 0 ? 0 : (int)kernel, rows / groups, isTransposed, isAfter);
    }

    /// <summary>Where the kernel of a row and column begins.</summary>
    public int Offset(int row, int column) => ((row * Columns) + column) * Kernel;

    /// <summary>The normalized channel of a row and column.</summary>
    public int Channel(int row, int column) => IsAfter && !IsTransposed ? row : InGroup(row, column);

    /// <summary>The output channel of a row and column.</summary>
    public int Output(int row, int column) => IsTransposed ? InGroup(row, column) : row;

    private int InGroup(int row, int column) => (row / RowsPerGroup * Columns) + column;

    private static void RequireRank(FoldableLayer kind, Shape shape)
    {
        var (fits, expected) = kind switch
        {
            FoldableLayer.Linear => (shape.Rank == 2, "a linear layer's weight of 2 dimensions, [out_features, in_features]"),
            FoldableLayer.Conv => (shape.Rank is >= MinConvRank and <= MaxConvRank,
                "a convolution's weight of 3 to 5 dimensions, [out_channels, in_channels/groups, kernel...]"),
            _ => (shape.Rank is >= MinConvRank and <= MaxConvRank,
                "a transposed convolution's weight of 3 to 5 dimensions, [in_channels, out_channels/groups, kernel...]"),
        };
        if (!fits) throw new LayerException(LayerError.ShapeMismatch, $"expected {expected}, got shape {shape}");
    }
}
