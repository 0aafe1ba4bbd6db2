using BnService.Client;
using BnService.Experiments.Data;
using BnService.Experiments.Experiments;
using BnService.Experiments.Networks;
using BnService.Experiments.Service;

namespace BnService.Experiments.Tests;

public sealed class NetworksTests
{
    private const double Step = 4e-3;

    [Fact]
    public async Task Gradients_through_the_service_are_those_of_finite_differences()
    {
        using var service = await ServiceProcess.StartAsync(CancellationToken.None);
        var (digits, _) = Digits.Read(Path.Combine(AppContext.BaseDirectory, "digits.csv"));
        var laboratory = new Laboratory(new BnClient(service.Address), digits, digits, [1], IsBrief: true, new Progress<double>(), CancellationToken.None);
        await using var convolutional = await Architectures.ConvolutionalAsync(laboratory, 1, sample => new BatchNormOptions { NumFeatures = sample[^1], ChannelAxis = -1 });
        await using var perceptron = await Architectures.PerceptronAsync(20, 2, Architectures.Xavier, 1, Nonlinearity.Sigmoid,
            async () => [await laboratory.NormalizationAsync(new LayerNormOptions { NormalizedShape = [20] })]);
        var batch = laboratory.Stream(1).Next(16);
        await CheckAsync(convolutional, batch.Planes, batch.Labels);
        await CheckAsync(perceptron, batch.Images, batch.Labels);
    }

    [Fact]
    public async Task Gradients_without_normalization_are_those_of_finite_differences()
    {
        var random = new Random(3);
        var (digits, _) = Digits.Read(Path.Combine(AppContext.BaseDirectory, "digits.csv"));
        var batch = new ShiftedDigits(digits, random).Next(9);
        var network = new Network(
        [
            new Convolution(1, 4, 1, 1, random), Nonlinearity.Sigmoid(), new Convolution(4, 5, 2, 1, random), Nonlinearity.Sigmoid(),
            new Linear(80, 10, 0.5, random),
        ]);
        await CheckAsync(network, batch.Planes, batch.Labels);
    }

    [Fact]
    public void The_product_of_matrices_is_right_for_every_width()
    {
        var random = new Random(1);
        foreach (var columns in new[] { 1, 7, 8, 9, 31, 33, 64, 100 })
        {
            var (a, b) = (Parameter.Gaussian(3 * 5, 1, random).Values, Parameter.Gaussian(5 * columns, 1, random).Values);
            var c = new float[3 * columns];
            MatrixProduct.Multiply(a, b, c, 3, 5, columns);
            for (var i = 0; i < c.Length; i++)
                Assert.Equal(Enumerable.Range(0, 5).Sum(k => (double)a[i / columns * 5 + k] * b[k * columns + i % columns]), c[i], 1e-5);
        }
    }

    [Fact]
    public void The_same_seed_makes_the_same_digits_and_batches_have_the_classes_that_are_asked_for()
    {
        var (training, heldOut) = Digits.Read(Path.Combine(AppContext.BaseDirectory, "digits.csv"));
        Assert.Equal((1437, 360), (training.Labels.Length, heldOut.Labels.Length));
        Digits Draw(int seed) => new ShiftedDigits(training, new Random(seed)).Next(50, 3, 8);
        Assert.Equal(Draw(1).Images.Values, Draw(1).Images.Values);
        Assert.NotEqual(Draw(1).Images.Values, Draw(2).Images.Values);
        Assert.Equal([3, 8], Draw(1).Labels.Distinct().Order());
    }

    /// <summary>Compares each quarter of a parameter's gradient with the change of the loss along it.</summary>
    private static async Task CheckAsync(Network network, Tensor x, int[] labels)
    {
        const int parts = 4;
        async Task<double> LossAsync() => Loss.CrossEntropy(await network.ForwardAsync(x, training: true), labels).Value;
        var (_, dy) = Loss.CrossEntropy(await network.ForwardAsync(x, training: true), labels);
        await network.BackwardAsync(dy, update: null);
        foreach (var parameter in network.Parameters)
        {
            var (values, gradient) = ((float[])parameter.Values.Clone(), parameter.Gradient);
            for (var part = 0; part < parts; part++)
            {
                float[] direction = [.. gradient.Select((element, i) => i * parts / gradient.Length == part ? element : 0)];
                var norm = Math.Sqrt(direction.Sum(element => (double)element * element));
                async Task<double> AtAsync(double along)
                {
                    for (var i = 0; i < values.Length; i++) parameter.Values[i] = (float)(values[i] + along * direction[i] / norm);
                    return await LossAsync();
                }
                var slope = (await AtAsync(Step) - await AtAsync(-Step)) / (2 * Step);
                await AtAsync(0);
                Assert.InRange(slope / norm, 0.98, 1.02);
            }
        }
    }
}
