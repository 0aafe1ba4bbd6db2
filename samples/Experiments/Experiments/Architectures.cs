using BnService.Client;
using BnService.Experiments.Data;
using BnService.Experiments.Networks;

namespace BnService.Experiments.Experiments;

/// <summary>The networks of the experiments.</summary>
public static class Architectures
{
    /// <summary>A multilayer perceptron: hidden layers of the same width, each with a linear map, what normalizes it if anything, and the nonlinearity.</summary>
    /// <param name="width">Units of a hidden layer.</param>
    /// <param name="depth">Hidden layers.</param>
    /// <param name="deviation">Standard deviation of the initial weights of a layer with so many inputs.</param>
    /// <param name="seed">Of the initial weights: the same with and without normalization.</param>
    /// <param name="nonlinearity">Makes the nonlinearity.</param>
    /// <param name="normalization">Makes what stands behind each linear map; null for nothing.</param>
    public static async Task<Network> PerceptronAsync(
        int width, int depth, Func<int, double> deviation, int seed, Func<Nonlinearity> nonlinearity, Func<Task<IReadOnlyList<ILayer>>>? normalization)
    {
        var (random, layers, inputs) = (new Random(seed), new List<ILayer>(), Digits.Side * Digits.Side);
        for (var i = 0; i < depth; i++, inputs = width)
        {
            layers.Add(new Linear(inputs, width, deviation(inputs), random, bias: normalization is null));
            if (normalization is not null) layers.AddRange(await normalization());
            layers.Add(nonlinearity());
        }
        layers.Add(new Linear(inputs, Digits.Classes, deviation(inputs), random));
        return new(layers);
    }

    /// <summary>
    /// A small convolutional network over [N, 8, 8, 1]: two convolutions, of 8 and of 16 channels at half the size, a hidden layer of 64 units,
    /// ReLU, and a normalization behind each of the three.
    /// </summary>
    /// <param name="laboratory">Where the layers are made.</param>
    /// <param name="seed">Of the initial weights.</param>
    /// <param name="normalization">Options for the dimensions of a sample at its place, channels last.</param>
    public static async Task<Network> ConvolutionalAsync(Laboratory laboratory, int seed, Func<int[], LayerOptions> normalization)
    {
        var random = new Random(seed);
        const int taps = 9, half = Digits.Side / 2;
        async Task<ILayer> Normalized(params int[] sample) => await laboratory.NormalizationAsync(normalization(sample));
        return new(
        [
            new Convolution(1, 8, 1, Kaiming(taps), random), await Normalized(Digits.Side, Digits.Side, 8), Nonlinearity.Relu(),
            new Convolution(8, 16, 2, Kaiming(taps * 8), random), await Normalized(half, half, 16), Nonlinearity.Relu(),
            new Linear(half * half * 16, 64, Kaiming(half * half * 16), random, bias: false), await Normalized(64), Nonlinearity.Relu(),
            new Linear(64, Digits.Classes, 0.1, random),
        ]);
    }

    /// <summary>Standard deviation that keeps the scale of a layer of sigmoids or of nothing (Xavier).</summary>
    public static double Xavier(int inputs) => Math.Sqrt(1.0 / inputs);

    /// <summary>Standard deviation that keeps the scale of a layer of ReLUs (He et al.).</summary>
    public static double Kaiming(int inputs) => Math.Sqrt(2.0 / inputs);
}
