using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests;

/// <summary>Folded layers against the two layers that they stand for, one after the other in double.</summary>
public sealed class FoldingTests
{
    private readonly Random _random = new(7);

    public static TheoryData<int, int, int, int[], int, int> Convolutions => new()
    {
        { 3, 4, 1, [3], 1, 0 }, // conv1d
        { 4, 6, 2, [2], 2, 1 },
        { 3, 5, 1, [3, 2], 1, 1 }, // conv2d
        { 6, 9, 3, [2, 3], 2, 0 },
        { 4, 4, 4, [3, 3], 1, 1 }, // depthwise
        { 2, 3, 1, [2, 1, 3], 1, 0 }, // conv3d
        { 4, 8, 2, [2, 2, 2], 1, 1 },
    };

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void After_a_convolution_of_any_rank_groups_stride_and_padding(int inputs, int outputs, int groups, int[] kernel, int stride, int padding)
    {
        var layer = new PlainConvolution(inputs, outputs, groups, Three(kernel), stride, padding);
        var (weight, bias, bn) = (Floats(outputs, inputs / groups, kernel), Doubles(outputs), new Normalization(outputs, _random));
        using var folded = Fold(FoldableLayer.Conv, weight, bias, groups, FoldPosition.After, bn, [padding]);
        var size = Size(kernel, 5);
        var x = Doubles(inputs * size.D * size.H * size.W);
        Same(bn.Apply(layer.Apply(x, size, Wide(weight), bias)), layer.Apply(x, size, Wide(folded.Weight), folded.Bias));
    }

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void After_a_transposed_convolution_with_its_groups(int inputs, int outputs, int groups, int[] kernel, int stride, int padding)
    {
        var layer = new PlainConvolution(inputs, outputs, groups, Three(kernel), stride, padding);
        var (weight, bias, bn) = (Floats(inputs, outputs / groups, kernel), Doubles(outputs), new Normalization(outputs, _random));
        using var folded = Fold(FoldableLayer.ConvTranspose, weight, bias, groups, FoldPosition.After, bn, null);
        var size = Size(kernel, 3);
        var x = Doubles(inputs * size.D * size.H * size.W);
        Same(bn.Apply(layer.Transpose(x, size, Wide(weight), bias)), layer.Transpose(x, size, Wide(folded.Weight), folded.Bias));
    }

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void Before_an_unpadded_convolution(int inputs, int outputs, int groups, int[] kernel, int stride, int padding)
    {
        var layer = new PlainConvolution(inputs, outputs, groups, Three(kernel), stride);
        var (weight, bias, bn) = (Floats(outputs, inputs / groups, kernel), Doubles(outputs), new Normalization(inputs, _random));
        using var folded = Fold(FoldableLayer.Conv, weight, bias, groups, FoldPosition.Before, bn, padding == 0 ? null : [.. kernel.Select(_ => 0)]);
        var size = Size(kernel, 5);
        var x = Doubles(inputs * size.D * size.H * size.W);
        Same(layer.Apply(bn.Apply(x), size, Wide(weight), bias), layer.Apply(x, size, Wide(folded.Weight), folded.Bias));
    }

    [Theory]
    [InlineData(FoldPosition.After, true)]
    [InlineData(FoldPosition.After, false)]
    [InlineData(FoldPosition.Before, true)]
    [InlineData(FoldPosition.Before, false)]
    public void A_linear_layer_on_either_side_with_and_without_bias(FoldPosition position, bool hasBias)
    {
        const int Inputs = 7, Outputs = 4;
        var layer = new PlainConvolution(Inputs, Outputs, 1, (1, 1, 1));
        var isAfter = position == FoldPosition.After;
        var (weight, bias, bn) = (Floats(Outputs, Inputs, []), hasBias ? Doubles(Outputs) : new double[Outputs], new Normalization(isAfter ? Outputs : Inputs, _random));
        using var folded = Fold(FoldableLayer.Linear, weight, hasBias ? bias : null, 1, position, bn, null);
        var x = Doubles(Inputs);
        var expected = isAfter ? bn.Apply(layer.Apply(x, (1, 1, 1), Wide(weight), bias)) : layer.Apply(bn.Apply(x), (1, 1, 1), Wide(weight), bias);
        Same(expected, layer.Apply(x, (1, 1, 1), Wide(folded.Weight), folded.Bias));
    }

    [Fact]
    public void Without_parameters_gamma_is_1_and_beta_0()
    {
        var running = new RunningStatistics([3, -1], [4, 0.25], 1, isInitial: false);
        using var weight = TensorOf([2, 1], [8, 8]);
        using var folded = new Folded(Folding.Fold(new(FoldableLayer.Linear, weight, null, 1, FoldPosition.After, null), new(running, null, null, 0)));
        Assert.Equal([4, 16], Wide(folded.Weight));
        Assert.Equal([-1.5, 2], folded.Bias); // (0 − 3)/2, (0 + 1)/0.5
    }

    [Fact]
    public void A_constant_channel_with_eps_0_comes_out_as_beta_as_in_inference()
    {
        var running = new RunningStatistics([3], [0], 1, isInitial: false);
        using var weight = TensorOf([1, 1], [8]);
        using var folded = new Folded(Folding.Fold(new(FoldableLayer.Linear, weight, [5], 1, FoldPosition.After, null), new(running, [2], [0.75], 0)));
        Assert.Equal([0], Wide(folded.Weight));
        Assert.Equal([0.75], folded.Bias);
        Assert.Equal(0, folded.Difference);
    }

    /// <summary>Powers of two leave nothing to round; anything else does, and it shows.</summary>
    [Fact]
    public void The_difference_is_the_rounding_of_the_folded_numbers()
    {
        Assert.True(DifferenceOf(mean: 0.5, variance: 4, eps: 0, gamma: 1) < 1e-14);
        Assert.InRange(DifferenceOf(mean: 0.5, variance: 3, eps: 0, gamma: 1), 1e-9, 1e-6);
        Assert.InRange(DifferenceOf(mean: 0.5, variance: 3, eps: 0, gamma: 1e-6), 1e-9, 1e-6);
    }

    /// <summary>Float32 holds 24 bits: what lies 2^k beyond σ loses k of them.</summary>
    [Theory]
    [InlineData(100.0, 1, 1e-5, 1e-6, 1e-4)]
    [InlineData(1e4, 1, 1e-5, 1e-4, 1e-2)]
    [InlineData(1000.0, 1.1e-10, 0, 1e-2, 10)]
    [InlineData(1000.0, 1e-12, 1e-12, 1e-2, 10)]
    [InlineData(1000.0, 0, 1e-5, 1e-2, 10)]
    public void A_variance_that_is_small_against_the_mean_shows_as_a_large_difference(double mean, double variance, double eps, double least, double most)
    {
        Assert.InRange(DifferenceOf(mean, variance, eps, gamma: 1), least, most);
        Assert.InRange(DifferenceOf(mean, variance, eps, gamma: 1, FoldPosition.Before), least / 10, most);
    }

    [Fact]
    public void The_difference_is_the_same_every_time() =>
        Assert.Equal(DifferenceOf(0.5, 3, 1e-5, 1), DifferenceOf(0.5, 3, 1e-5, 1));

    [Fact]
    public void Weights_that_leave_float32_are_refused()
    {
        var exception = Assert.Throws<LayerException>(() => DifferenceOf(0, 1e-80, 0, 1));
        Assert.Equal(LayerError.InvalidOption, exception.Error);
        Assert.Contains("beyond float32: channel 0 is multiplied by gamma/sqrt(running_var + eps)", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(FoldableLayer.Conv, FoldPosition.After, new[] { 32, 3, 3, 3 }, 1, "expected weight with 64 output channels (num_features), got shape [32, 3, 3, 3]")]
    [InlineData(FoldableLayer.Linear, FoldPosition.After, new[] { 10, 64 }, 1, "expected weight with 64 output channels (num_features), got shape [10, 64]")]
    [InlineData(FoldableLayer.Linear, FoldPosition.Before, new[] { 64, 10 }, 1, "expected weight with 64 input channels (num_features), got shape [64, 10]")]
    [InlineData(FoldableLayer.Conv, FoldPosition.Before, new[] { 64, 16, 3 }, 2, "expected weight with 64 input channels (num_features), got shape [64, 16, 3] with groups 2")]
    [InlineData(FoldableLayer.ConvTranspose, FoldPosition.After, new[] { 64, 16, 3 }, 2, "expected weight with 64 output channels (num_features), got shape [64, 16, 3] with groups 2")]
    [InlineData(FoldableLayer.Conv, FoldPosition.After, new[] { 64, 3 }, 1, "expected a convolution's weight of 3 to 5 dimensions")]
    [InlineData(FoldableLayer.Conv, FoldPosition.After, new[] { 64, 1, 1, 1, 1, 1 }, 1, "expected a convolution's weight of 3 to 5 dimensions")]
    [InlineData(FoldableLayer.Linear, FoldPosition.After, new[] { 64, 3, 1 }, 1, "expected a linear layer's weight of 2 dimensions")]
    [InlineData(FoldableLayer.Linear, FoldPosition.After, new[] { 64 }, 1, "expected a linear layer's weight of 2 dimensions")]
    [InlineData(FoldableLayer.Conv, FoldPosition.After, new[] { 64, 3, 3 }, 5, "groups must divide the 64 output channels of weight [64, 3, 3], got 5")]
    [InlineData(FoldableLayer.ConvTranspose, FoldPosition.After, new[] { 6, 32, 3 }, 4, "groups must divide the 6 input channels of weight [6, 32, 3], got 4")]
    [InlineData(FoldableLayer.Conv, FoldPosition.After, new[] { 64, 3, 3 }, 0, "groups must be a whole number of 1 or more, got 0")]
    [InlineData(FoldableLayer.Linear, FoldPosition.After, new[] { 64, 3 }, 2, "groups must be 1 for a linear layer, got 2")]
    [InlineData(FoldableLayer.ConvTranspose, FoldPosition.Before, new[] { 64, 3, 3 }, 1, "position must be after for conv_transpose")]
    public void What_does_not_fit_is_refused_in_numbers(FoldableLayer kind, FoldPosition position, int[] shape, int groups, string message)
    {
        using var weight = Tensor.Rent(new Shape(shape));
        weight.Data.Clear();
        var channels = new FoldedChannels(RunningStatistics.Initial(64), null, null, 1e-5);
        var exception = Assert.Throws<LayerException>(() => Folding.Fold(new(kind, weight, null, groups, position, null), channels));
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }

    private double DifferenceOf(double mean, double variance, double eps, double gamma, FoldPosition position = FoldPosition.After)
    {
        var running = new RunningStatistics([mean], [variance], 1, isInitial: false);
        using var weight = position == FoldPosition.After ? TensorOf([1, 5], [0.5f, -1.25f, 0.75f, 2, -3]) : TensorOf([1, 1, 5], [0.5f, -1.25f, 0.75f, 2, -3]);
        using var folded = new Folded(Folding.Fold(
            new(position == FoldPosition.After ? FoldableLayer.Linear : FoldableLayer.Conv, weight, [0.25], 1, position, null), new(running, [gamma], null, eps)));
        return folded.Difference;
    }

    private static Folded Fold(FoldableLayer kind, Tensor weight, double[]? bias, int groups, FoldPosition position, Normalization bn, int[]? padding) =>
        new(Folding.Fold(new(kind, weight, bias, groups, position, padding),
            new(new RunningStatistics(bn.Mean, bn.Variance, 1, isInitial: false), bn.Gamma, bn.Beta, bn.Eps)));

    // Weights are float32, so that the two agree to about 24 bits of the largest terms.
    private static void Same(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        var largest = expected.Max(Math.Abs);
        for (var i = 0; i < expected.Length; i++) Assert.True(Math.Abs(expected[i] - actual[i]) <= 1e-6 * largest, $"[{i}]: {expected[i]} became {actual[i]}");
    }

    private Tensor Floats(int rows, int columns, int[] kernel)
    {
        var tensor = Tensor.Rent(new Shape([rows, columns, .. kernel]));
        for (var i = 0; i < tensor.Data.Length; i++) tensor.Data[i] = (float)((2 * _random.NextDouble()) - 1);
        return tensor;
    }

    private double[] Doubles(int count) => [.. Enumerable.Range(0, count).Select(_ => (2 * _random.NextDouble()) - 1)];

    private static double[] Wide(Tensor tensor) => Array.ConvertAll(tensor.Data.ToArray(), value => (double)value);

    private static Tensor TensorOf(int[] shape, float[] values)
    {
        var tensor = Tensor.Rent(new Shape(shape));
        values.CopyTo(tensor.Data);
        return tensor;
    }

    private static (int D, int H, int W) Three(int[] kernel) =>
        kernel.Length == 1 ? (1, 1, kernel[0]) : kernel.Length == 2 ? (1, kernel[0], kernel[1]) : (kernel[0], kernel[1], kernel[2]);

    private static (int D, int H, int W) Size(int[] kernel, int length) => (kernel.Length > 2 ? length : 1, kernel.Length > 1 ? length + 1 : 1, length + 2);

    private sealed class Folded(FoldedLayer layer) : IDisposable
    {
        public Tensor Weight => layer.Weight;

        public double[] Bias => layer.Bias;

        public double Difference => layer.MaxRelativeDifference;

        public void Dispose() => layer.Weight.Dispose();
    }

    private sealed class Normalization(int channels, Random random)
    {
        public double Eps { get; } = 1e-3;

        public double[] Mean { get; } = Values(channels, () => (2 * random.NextDouble()) - 1);

        public double[] Variance { get; } = Values(channels, () => 0.1 + random.NextDouble());

        public double[] Gamma { get; } = Values(channels, () => (3 * random.NextDouble()) - 1.5);

        public double[] Beta { get; } = Values(channels, () => (2 * random.NextDouble()) - 1);

        // x is (channels, positions).
        public double[] Apply(double[] x)
        {
            var positions = x.Length / Mean.Length;
            return [.. x.Select((value, i) => (Gamma[i / positions] * (value - Mean[i / positions]) / Math.Sqrt(Variance[i / positions] + Eps)) + Beta[i / positions])];
        }

        private static double[] Values(int count, Func<double> next) => [.. Enumerable.Range(0, count).Select(_ => next())];
    }
}
