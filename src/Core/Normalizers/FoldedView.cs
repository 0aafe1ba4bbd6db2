using System.Globalization;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>A weight as (rows, columns, kernel), with the channel and the output that each of its elements belongs to.</summary>
/// <param name="Rows">Outputs, or for a transposed convolution inputs.</param>
/// <param name="Columns">The other channels, within a group.</param>
/// <param name="Kernel">Product of the kernel's dimensions.</param>
/// <param name="RowsPerGroup">Rows of a group.</param>
/// <param name="IsTransposed">Whether rows are inputs, as in a transposed convolution.</param>
/// <param name="IsAfter">Whether the normalized channels are the outputs.</param>
/// <param name="KernelIsOutermost">Whether the kernel's dimensions come first and rows are adjacent, as Keras has them.</param>
internal readonly record struct FoldedView(
    int Rows, int Columns, int Kernel, int RowsPerGroup, bool IsTransposed, bool IsAfter, bool KernelIsOutermost)
{
    // conv1d to conv3d
    private const int MinConvRank = 3, MaxConvRank = 5;

    /// <summary>Number of output channels.</summary>
    public int Outputs => IsTransposed ? Groups * Columns : Rows;

    /// <summary>How far the elements of one row and column lie apart.</summary>
    public int KernelStride => KernelIsOutermost ? Rows * Columns : 1;

    private int Groups => RowsPerGroup == 0 ? 0 : Rows / RowsPerGroup;

    /// <summary>The view of a layer's weight.</summary>
    /// <exception cref="LayerException">The weight does not fit them, or the layout.</exception>
    public static FoldedView Of(LayerToFold layer, int channels)
    {
        var (shape, groups) = (layer.Weight.Shape, layer.Groups);
        var isTransposed = layer.Kind == FoldableLayer.ConvTranspose;
        RequireLayout(layer);
        RequireRank(layer, shape);
        var isOutermost = layer.Layout is FoldLayout.Hwio or FoldLayout.Io;
        var (rows, columns) = isOutermost ? (shape[-1], shape[-2]) : (shape[0], shape[1]);
        var isAfter = layer.Position == FoldPosition.After;
        if (IsDepthwise(layer, isAfter, channels)) (rows, columns) = (rows * columns, 1);
        if (rows % groups != 0)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"groups must divide the {rows} {(isTransposed ? "input" : "output")} channels of weight {shape}, got {groups}");
        }
        var alongRows = isAfter != isTransposed;
        if ((alongRows ? rows : (long)columns * groups) != channels) throw Unfit(layer, channels, isAfter ? "output" : "input", alongRows);
        var dimensions = isOutermost ? shape.Dimensions.Take(shape.Rank - 2) : shape.Dimensions.Skip(2);
        var kernel = dimensions.Aggregate(1L, (product, dimension) => Math.Min(product * dimension, int.MaxValue));
        return new(rows, columns, shape.Count == 0 ? 0 : (int)kernel, rows / groups, isTransposed, isAfter, isOutermost);
    }

    /// <summary>Where the kernel of a row and column begins.</summary>
    public int Offset(int row, int column) => KernelIsOutermost ? (column * Rows) + row : ((row * Columns) + column) * Kernel;

    /// <summary>The normalized channel of a row and column.</summary>
    public int Channel(int row, int column) => IsAfter && !IsTransposed ? row : InGroup(row, column);

    /// <summary>The output channel of a row and column.</summary>
    public int Output(int row, int column) => IsTransposed ? InGroup(row, column) : row;

    private int InGroup(int row, int column) => (row / RowsPerGroup * Columns) + column;

    // [kernel…, in, multiplier]: as memory the kernel of a grouped convolution, [kernel…, 1, in·multiplier]. The number of normalized
    // channels tells the two apart, since a grouped kernel of this shape has groups² inputs.
    private static bool IsDepthwise(LayerToFold layer, bool isAfter, int channels)
    {
        var shape = layer.Weight.Shape;
        return layer is { Kind: FoldableLayer.Conv, Layout: FoldLayout.Hwio, Groups: > 1 } && shape[-2] == layer.Groups
            && channels == (isAfter ? (long)shape[-2] * shape[-1] : shape[-2]);
    }

    private static LayerException Unfit(LayerToFold layer, int channels, string side, bool alongRows)
    {
        var (shape, name) = (layer.Weight.Shape, layer.Layout.ToString().ToLowerInvariant());
        var inGroups = alongRows || layer.Kind == FoldableLayer.Linear ? "" : layer.Layout == FoldLayout.Oihw
            ? $" with groups {layer.Groups}, whose second dimension is the {side} channels of one group"
            : $" with groups {layer.Groups}, whose second dimension from the end is the {side} channels of one group";
        return new(LayerError.ShapeMismatch,
            $"expected weight with {channels} {side} channels (num_features), got shape {shape}{inGroups}; " +
            $"layout is {name}, {Dimensions(layer)}: say so if the weight lies otherwise");
    }

    private static void RequireLayout(LayerToFold layer)
    {
        var isLinear = layer.Kind == FoldableLayer.Linear;
        if (layer.Layout == FoldLayout.Oihw || isLinear == layer.Layout is FoldLayout.Io or FoldLayout.Oi) return;
        var allowed = isLinear ? "oi (PyTorch) or io (Keras) for a linear layer" : "oihw (PyTorch) or hwio (Keras) for a convolution";
        throw new LayerException(LayerError.InvalidOption, $"layout must be {allowed}, got {layer.Layout.ToString().ToLowerInvariant()}");
    }

    private static void RequireRank(LayerToFold layer, Shape shape)
    {
        var isLinear = layer.Kind == FoldableLayer.Linear;
        if (isLinear ? shape.Rank == 2 : shape.Rank is >= MinConvRank and <= MaxConvRank) return;
        var what = isLinear ? "a linear layer's weight of 2"
            : layer.Kind == FoldableLayer.Conv ? "a convolution's weight of 3 to 5" : "a transposed convolution's weight of 3 to 5";
        var layout = layer.Layout == FoldLayout.Oihw ? "" : $" (layout {layer.Layout.ToString().ToLowerInvariant()})";
        throw new LayerException(LayerError.ShapeMismatch, $"expected {what} dimensions, {Dimensions(layer)}{layout}, got shape {shape}");
    }

    private static string Dimensions(LayerToFold layer) => (layer.Kind, layer.Layout) switch
    {
        (FoldableLayer.Linear, FoldLayout.Io) => "[in_features, out_features]",
        (FoldableLayer.Linear, _) => "[out_features, in_features]",
        (FoldableLayer.Conv, FoldLayout.Hwio) => "[kernel..., in_channels/groups, out_channels]",
        (FoldableLayer.Conv, _) => "[out_channels, in_channels/groups, kernel...]",
        (_, FoldLayout.Hwio) => "[kernel..., out_channels/groups, in_channels]",
        _ => "[in_channels, out_channels/groups, kernel...]",
    };
}

/// <summary>
/// Normalization by running statistics as a map of each channel, y = (x − mean)·scale + beta with scale = γ/√(r_var + ε).
/// </summary>
public sealed class FoldedChannels
{
    /// <summary>The map of running statistics.</summary>
    /// <param name="running">The running statistics, one per channel.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    /// <exception cref="LayerException">A channel's map is not finite.</exception>
    public FoldedChannels(RunningStatistics running, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(running);
        Mean = running.Mean;
        Deviation = Array.ConvertAll(running.Variance, Math.Sqrt);
        Beta = beta ?? new double[Mean.Length];
        Scale = new double[Mean.Length];
        for (var c = 0; c < Scale.Length; c++)
        {
            // As in inference: where both are 0 the channel is constant and comes out as beta.
            var sum = running.Variance[c] + eps;
            Scale[c] = sum == 0 ? 0 : (gamma?[c] ?? 1) / Math.Sqrt(sum);
            if (double.IsFinite(Scale[c]) && double.IsFinite(Mean[c]) && double.IsFinite(Beta[c]) && double.IsFinite(Deviation[c]))
                continue;
            throw new LayerException(LayerError.InvalidOption, string.Create(CultureInfo.InvariantCulture,
                $"channel {c} cannot be folded: its running_mean {Mean[c]:R}, running_var {running.Variance[c]:R}, gamma " +
                    $"{gamma?[c] ?? 1:R} and beta {Beta[c]:R} must be finite, and so must gamma/sqrt(running_var + eps)"));
        }
    }

    /// <summary>Number of channels.</summary>
    public int Count => Mean.Length;

    /// <summary>Running mean.</summary>
    public double[] Mean { get; }

    /// <summary>σ, the root of the running variance.</summary>
    public double[] Deviation { get; }

    /// <summary>a = γ/√(r_var + ε).</summary>
    public double[] Scale { get; }

    /// <summary>β.</summary>
    public double[] Beta { get; }
}
