using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Tests;

/// <summary>A weight in Keras's layouts folds to the same numbers as in PyTorch's, which have their own tests.</summary>
public sealed class FoldingLayoutTests
{
    private readonly Random _random = new(11);

    /// <summary>Inputs, outputs, groups and kernel.</summary>
    public static TheoryData<int, int, int, int[]> Convolutions => new()
    {
        { 3, 4, 1, [3] },
        { 4, 4, 1, [3] }, // square: only the layout tells
        { 4, 6, 2, [2] },
        { 3, 5, 1, [3, 2] },
        { 6, 9, 3, [2, 3] },
        { 4, 4, 4, [3, 3] },
        { 9, 9, 3, [3, 3] }, // in/groups = groups, and yet no depthwise kernel
        { 4, 8, 2, [2, 1, 3] },
        { 2, 3, 1, [1, 1, 1] },
    };

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void A_convolution_of_Keras(int inputs, int outputs, int groups, int[] kernel)
    {
        foreach (var position in (FoldPosition[])[FoldPosition.After, FoldPosition.Before])
            Same(FoldableLayer.Conv, [outputs, inputs / groups, .. kernel], groups, position, FoldLayout.Hwio, position == FoldPosition.After ? outputs : inputs, outputs);
    }

    /// <summary>Conv2DTranspose keeps (height, width, out, in).</summary>
    [Theory]
    [MemberData(nameof(Convolutions))]
    public void A_transposed_convolution_of_Keras(int inputs, int outputs, int groups, int[] kernel) =>
        Same(FoldableLayer.ConvTranspose, [inputs, outputs / groups, .. kernel], groups, FoldPosition.After, FoldLayout.Hwio, outputs, outputs);

    [Theory]
    [InlineData(3, 5)]
    [InlineData(4, 4)]
    public void A_dense_layer_in_either_layout(int inputs, int outputs)
    {
        foreach (var position in (FoldPosition[])[FoldPosition.After, FoldPosition.Before])
        {
            var channels = position == FoldPosition.After ? outputs : inputs;
            Same(FoldableLayer.Linear, [outputs, inputs], 1, position, FoldLayout.Io, channels, outputs);
            Same(FoldableLayer.Linear, [outputs, inputs], 1, position, FoldLayout.Oi, channels, outputs);
        }
    }

    /// <summary>DepthwiseConv2D keeps (height, width, in, multiplier); output i·multiplier + m belongs to input i.</summary>
    [Theory]
    [InlineData(3, 1, FoldPosition.After, new[] { 3, 3 })]
    [InlineData(3, 1, FoldPosition.Before, new[] { 3, 3 })]
    [InlineData(3, 2, FoldPosition.After, new[] { 2 })]
    [InlineData(3, 2, FoldPosition.Before, new[] { 2, 3 })]
    [InlineData(2, 2, FoldPosition.After, new[] { 3, 3 })]
    [InlineData(2, 4, FoldPosition.Before, new[] { 1, 2, 3 })]
    [InlineData(1, 4, FoldPosition.After, new[] { 3, 3 })]
    public void A_depthwise_kernel_of_Keras(int inputs, int multiplier, FoldPosition position, int[] kernel)
    {
        var outputs = inputs * multiplier;
        var channels = ChannelsOf(position == FoldPosition.After ? outputs : inputs);
        using var plain = Random([outputs, 1, .. kernel]);
        using var keras = Permuted(plain, isOutermost: true, [.. kernel, inputs, multiplier]);
        var bias = Doubles(outputs);
        var expected = Folding.Fold(new(FoldableLayer.Conv, plain, bias, inputs, position, null), channels);
        var actual = Folding.Fold(new(FoldableLayer.Conv, keras, bias, inputs, position, null, FoldLayout.Hwio), channels);
        using (expected.Weight)
        using (actual.Weight)
        using (var back = Permuted(expected.Weight, isOutermost: true, [.. kernel, inputs, multiplier]))
        {
            Assert.Equal(back.Data, actual.Weight.Data);
            Assert.Equal(back.Shape, actual.Weight.Shape);
            Assert.Equal(expected.Bias, actual.Bias);
            Assert.Equal(expected.MaxRelativeDifference, actual.MaxRelativeDifference);
        }
    }

    [Theory]
    [InlineData(FoldableLayer.Linear, FoldLayout.Hwio, new[] { 4, 4 }, "layout must be oi (PyTorch) or io (Keras) for a linear layer, got hwio")]
    [InlineData(FoldableLayer.Conv, FoldLayout.Io, new[] { 3, 4, 4 }, "layout must be oihw (PyTorch) or hwio (Keras) for a convolution, got io")]
    [InlineData(FoldableLayer.ConvTranspose, FoldLayout.Oi, new[] { 3, 4, 4 }, "layout must be oihw (PyTorch) or hwio (Keras) for a convolution, got oi")]
    [InlineData(FoldableLayer.Conv, FoldLayout.Hwio, new[] { 4, 4 }, "[kernel..., in_channels/groups, out_channels] (layout hwio), got shape [4, 4]")]
    [InlineData(FoldableLayer.Linear, FoldLayout.Io, new[] { 1, 4, 4 }, "[in_features, out_features] (layout io), got shape [1, 4, 4]")]
    [InlineData(FoldableLayer.Linear, FoldLayout.Io, new[] { 4, 3 }, "expected weight with 4 output channels (num_features), got shape [4, 3]; layout is io, [in_features, out_features]")]
    [InlineData(FoldableLayer.Linear, FoldLayout.Oihw, new[] { 3, 4 }, "layout is oihw, [out_features, in_features]")]
    [InlineData(FoldableLayer.Conv, FoldLayout.Hwio, new[] { 3, 4, 3 }, "layout is hwio, [kernel..., in_channels/groups, out_channels]")]
    public void A_weight_that_does_not_fit_its_layout_is_refused(FoldableLayer kind, FoldLayout layout, int[] shape, string message)
    {
        using var weight = Random(shape);
        var exception = Assert.Throws<LayerException>(() => Folding.Fold(new(kind, weight, null, 1, FoldPosition.After, null, layout), ChannelsOf(4)));
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }

    private void Same(FoldableLayer kind, int[] shape, int groups, FoldPosition position, FoldLayout layout, int channels, int outputs)
    {
        var isOutermost = layout != FoldLayout.Oi;
        int[] permuted = isOutermost ? [.. shape[2..], shape[1], shape[0]] : shape;
        var (bias, normalization) = (Doubles(outputs), ChannelsOf(channels));
        using var plain = Random(shape);
        using var other = Permuted(plain, isOutermost, permuted);
        var expected = Folding.Fold(new(kind, plain, bias, groups, position, null), normalization);
        var actual = Folding.Fold(new(kind, other, bias, groups, position, null, layout), normalization);
        using (expected.Weight)
        using (actual.Weight)
        using (var back = Permuted(expected.Weight, isOutermost, permuted))
        {
            Assert.Equal(back.Data, actual.Weight.Data);
            Assert.Equal(other.Shape, actual.Weight.Shape);
            Assert.Equal(expected.Bias, actual.Bias);
            Assert.Equal(expected.MaxRelativeDifference, actual.MaxRelativeDifference);
        }
    }

    private FoldedChannels ChannelsOf(int count) => new(
        new RunningStatistics(Doubles(count), [.. Doubles(count).Select(value => 0.1 + Math.Abs(value))], 1, isInitial: false), Doubles(count), Doubles(count), 1e-3);

    // The kernel before the two channels, which change places: transpose(2, ..., 1, 0).
    private static Tensor Permuted(Tensor tensor, bool isOutermost, int[] shape)
    {
        var (permuted, rows, columns) = (Tensor.Rent(new Shape(shape)), tensor.Shape[0], tensor.Shape[1]);
        var kernel = tensor.Shape.Count / (rows * columns);
        for (var i = 0; i < tensor.Shape.Count; i++)
        {
            var (row, column, k) = (i / (columns * kernel), i / kernel % columns, i % kernel);
            permuted.Data[isOutermost ? (((k * columns) + column) * rows) + row : i] = tensor.Data[i];
        }
        return permuted;
    }

    private Tensor Random(int[] shape)
    {
        var tensor = Tensor.Rent(new Shape(shape));
        for (var i = 0; i < tensor.Data.Length; i++) tensor.Data[i] = (float)((2 * _random.NextDouble()) - 1);
        return tensor;
    }

    private double[] Doubles(int count) => [.. Enumerable.Range(0, count).Select(_ => (2 * _random.NextDouble()) - 1)];
}
