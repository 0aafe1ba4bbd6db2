using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>The layers that normalization can be folded into.</summary>
public enum FoldableLayer
{
    /// <summary>weight [out_features, in_features].</summary>
    Linear,

    /// <summary>weight [out_channels, in_channels/groups, kernel…], one to three dimensions of kernel.</summary>
    Conv,

    /// <summary>weight [in_channels, out_channels/groups, kernel…], one to three dimensions of kernel.</summary>
    ConvTranspose,
}

/// <summary>Where the normalization stands.</summary>
public enum FoldPosition
{
    /// <summary>It normalizes what the layer puts out.</summary>
    After,

    /// <summary>It normalizes what the layer takes in.</summary>
    Before,
}

/// <summary>
/// How a weight lies in memory. A layout is what was said, never what a shape suggests: a square weight fits all of them.
/// </summary>
public enum FoldLayout
{
    /// <summary>PyTorch's weight of each layer, as <see cref="FoldableLayer"/> has it.</summary>
    Oihw,

    /// <summary>
    /// Keras's kernel of a convolution, [kernel…, in_channels/groups, out_channels], of a transposed one, [kernel…, out_channels/groups,
    /// in_channels], and of a depthwise one, [kernel…, in_channels, multiplier], where there are as many groups as channels.
    /// </summary>
    Hwio,

    /// <summary>Keras's kernel of a linear layer, [in_features, out_features].</summary>
    Io,

    /// <summary>PyTorch's weight of a linear layer, [out_features, in_features].</summary>
    Oi,
}

/// <summary>A layer that normalization is to be folded into.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Weight">Its weight.</param>
/// <param name="Bias">Its bias, one value per output channel; null for none.</param>
/// <param name="Groups">Number of groups that its channels fall into.</param>
/// <param name="Position">Where the normalization stands.</param>
/// <param name="Padding">Its padding; null for none. It matters only where the normalization stands before it.</param>
/// <param name="Layout">How its weight lies in memory; the folded one lies the same way.</param>
public sealed record LayerToFold(
    FoldableLayer Kind, Tensor Weight, double[]? Bias, int Groups, FoldPosition Position, int[]? Padding,
        FoldLayout Layout = FoldLayout.Oihw);

/// <summary>The layer that does the work of both.</summary>
/// <param name="Weight">Its weight, in the shape of the layer's; the caller's to dispose.</param>
/// <param name="Bias">Its bias.</param>
/// <param name="MaxRelativeDifference">The largest relative difference of its output from that of the two, on <see
/// cref="FoldingProbe"/>.</param>
public sealed record FoldedLayer(Tensor Weight, double[] Bias, double MaxRelativeDifference);

// With a = γ·s and s = 1/√(r_var + ε), in double; the weight is rounded to its own precision once, at the end.
// After:  W'[o,…] = W[o,…]·a[o], b'[o] = (b[o] − r_mean[o])·a[o] + β[o].
// Before: W'[o,i,…] = W[o,i,…]·a[i], b'[o] = b[o] + Σ_{i,k} W[o,i,k]·(β[i] − r_mean[i]·a[i]).
// A weight is (A, B, K): rows, channels within a group, kernel. Its element (a, b, k) belongs to output a and input (a / (A/G))·B + b;
// that of a transposed convolution, seen as (G, Cin/G, Cout/G, …), to input a and output (a / (A/G))·B + b.

/// <summary>Folds the affine map of running statistics into a layer before or after it (Jacob et al. 2018, section 3.2).</summary>
public static class Folding
{
    /// <summary>The folded layer.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="channels">The normalization as a map of channels.</param>
    /// <exception cref="LayerException">The shapes do not fit, a value is not finite, or the two cannot be one layer.</exception>
    public static FoldedLayer Fold(LayerToFold layer, FoldedChannels channels)
    {
        ArgumentNullException.ThrowIfNull(layer);
        ArgumentNullException.ThrowIfNull(channels);
        RequireFoldable(layer);
        var view = FoldedView.Of(layer, channels.Count);
        var bias = BiasOf(layer, view);
        RequireFinite(layer.Weight);
        var weight = Tensor.Rent(layer.Weight.Shape, layer.Weight.Precision);
        try
        {
            var folded = Scale(layer.Weight, weight, bias, view, channels, weight.Precision);
            var probe = new FoldingProbe(view, channels, layer.Weight, bias, weight, folded);
            return new FoldedLayer(weight, folded, probe.MaxRelativeDifference());
        }
        catch
        {
            weight.Dispose();
            throw;
        }
    }

    private static double[] Scale(
        Elements weight, Elements scaled, double[] bias, FoldedView view, FoldedChannels channels, Precision precision)
    {
        var folded = view.IsAfter
            ? [.. bias.Select((b, o) => ((b - channels.Mean[o]) * channels.Scale[o]) + channels.Beta[o])]
            : (double[])[.. bias];
        for (var row = 0; row < view.Rows; row++)
        {
            for (var column = 0; column < view.Columns; column++)
            {
                var (from, channel, sum) = (view.Offset(row, column), view.Channel(row, column), 0.0);
                for (var (k, left) = (from, view.Kernel); left > 0; k += view.KernelStride, left--)
                {
                    scaled[k] = weight[k] * channels.Scale[channel];
                    if (!double.IsFinite(scaled[k]))
                        throw TooLarge($"weight element {k}", weight[k] * channels.Scale[channel], channel, channels, precision);
                    sum += weight[k];
                }
                if (!view.IsAfter) folded[row] += sum * (channels.Beta[channel] - (channels.Mean[channel] * channels.Scale[channel]));
            }
        }
        if (Array.FindIndex(folded, b => !double.IsFinite(precision == Precision.Float64 ? b : (float)b)) is var index and >= 0)
            throw TooLarge($"bias element {index}", folded[index], view.IsAfter ? index : null, channels, precision);
        return folded;
    }

    private static double[] BiasOf(LayerToFold layer, FoldedView view)
    {
        if (layer.Bias is not { } bias) return new double[view.Outputs];
        if (bias.Length != view.Outputs)
            throw Mismatch($"bias must have {view.Outputs} values, one per output channel, got {bias.Length}");
        if (Array.FindIndex(bias, b => !double.IsFinite(b)) is var index and >= 0)
            throw new LayerException(LayerError.NonFiniteInput, $"bias must be finite: element {index} is {bias[index]}");
        return bias;
    }

    private static void RequireFoldable(LayerToFold layer)
    {
        if (layer.Groups < 1) throw Invalid($"groups must be a whole number of 1 or more, got {layer.Groups}");
        if (layer.Kind == FoldableLayer.Linear && layer.Groups != 1)
            throw Invalid($"groups must be 1 for a linear layer, got {layer.Groups}");
        if (layer.Position == FoldPosition.After) return;
        if (layer.Kind == FoldableLayer.ConvTranspose)
        {
            throw Invalid(
                "position must be after for conv_transpose: at its borders and between its strides fewer inputs meet than inside, " +
                "so that what normalization adds to them is no constant and fits into no bias");
        }
        if (layer.Padding is not { } padding) return;
        var dimensions = Math.Max(layer.Weight.Shape.Rank - 2, 0);
        if (padding.Length != 1 && padding.Length != dimensions && padding.Length != 2 * dimensions)
            throw Invalid($"padding must be one number, or one or two for each of the {dimensions} dimensions of the kernel, got " +
                $"{padding.Length}");
        if (Array.Find(padding, p => p < 0) is var negative and < 0) throw Invalid($"padding must be 0 or more, got {negative}");
        if (Array.Find(padding, p => p > 0) is var padded and > 0)
        {
            throw Invalid($"padding must be 0 with position before, got {padded}: the layer pads with zeros that have " +
                "not been normalized, while folding would treat them as if they had, so that the border would be wrong; " +
                "pad with running_mean - beta/a before the normalization instead");
        }
    }

    private static void RequireFinite(Elements weight)
    {
        for (var i = 0; i < weight.Length; i++)
        {
            if (double.IsFinite(weight[i])) continue;
            throw new LayerException(LayerError.NonFiniteInput, $"weight must be finite: element {i} is {weight[i]}");
        }
    }

    private static LayerException TooLarge(string element, double value, int? channel, FoldedChannels channels, Precision precision)
    {
        var cause = channel is { } c
            ? $": channel {c} is multiplied by gamma/sqrt(running_var + eps) = {channels.Scale[c]:R}"
            : "";
        return Invalid($"folded, {element} would be {value:R}, beyond {(precision == Precision.Float64 ? "float64" : "float32")}{cause}");
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);

    private static LayerException Mismatch(string message) => new(LayerError.ShapeMismatch, message);
}
