using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>Batch norm trains at learning rates and initializations at which the plain network does not (Ioffe and Szegedy 2015).</summary>
public sealed class TrainableSettings : IExperiment
{
    private const int Width = 64, Depth = 5, Batch = 32, Steps = 200;
    private const double Trained = 0.5;
    private static readonly double[] Rates = [0.01, 0.03, 0.1, 0.3, 1, 3], Gains = [0.03, 0.1, 0.3, 1, 3, 10];

    /// <inheritdoc/>
    public string Name => "grid";

    /// <inheritdoc/>
    public string Title => "Learning rate and initialization";

    /// <inheritdoc/>
    public string Claim => "Batch norm allows much higher learning rates and less care about initialization (Ioffe & Szegedy 2015)";

    /// <inheritdoc/>
    public string Paper => "30 times the learning rate trains; without batch norm 5 times does not";

    /// <inheritdoc/>
    public string Method =>
        $"A perceptron with {Depth} hidden layers of {Width} ReLUs, batches of {Batch}, plain SGD, {Steps} steps, at 6 learning rates and " +
        $"6 scales of the initial weights around He's. A cell trains when {Trained:0.0} of the held-out digits are recognized after them, " +
        "where a tenth would be by chance.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        bool[] both = [false, true];
        var seeds = laboratory.Seeds;
        // The slow rows, those of batch norm, are not all left to the end.
        var cells = (from seed in seeds from normalized in both from gain in Gains from rate in Rates select (seed, normalized, gain, rate)).ToList();
        var trials = await laboratory.EachAsync(cells, cell => TrainAsync(laboratory, cell.normalized, cell.gain, cell.rate, cell.seed));
        var accuracies = cells.Zip(trials).ToDictionary(pair => pair.First, pair => pair.Second.Final);

        int Count(bool normalized, int seed) => cells.Count(cell => cell.normalized == normalized && cell.seed == seed && accuracies[cell] >= Trained);
        var counts = seeds.Select(seed => (Seed: seed, Plain: Count(false, seed), Normalized: Count(true, seed))).ToList();
        var table = Tables.Markdown(["seed", "cells", "train without", "train with batch norm"],
            counts.Select(count => (string[])[$"{count.Seed}", $"{Gains.Length * Rates.Length}", $"{count.Plain}", $"{count.Normalized}"]));
        double Mean(bool normalized, double gain, double rate) => seeds.Average(seed => accuracies[(seed, normalized, gain, rate)]);
        var grids = both.Select(normalized => (normalized ? "with batch norm" : "without", Means((gain, rate) => Mean(normalized, gain, rate)))).ToList();
        var plot = Plots.Grids($"Accuracy after {Steps} steps, mean of the seeds", "learning rate", "initial weights, times He's",
            [.. Rates.Select(Tables.Plain)], [.. Gains.Select(Tables.Plain)], grids);
        var seen = string.Join(", ", counts.Select(count => $"{count.Normalized} : {count.Plain}"));
        var areMore = counts.All(count => count.Normalized >= 3 * count.Plain && count.Normalized > 0);
        return new($"cells that train, with and without, of {Gains.Length * Rates.Length}: {seen}",
            [new("trains in at least three times as many cells, in each seed", seen, areMore)], [table], plot);
    }

    private static async Task<Trial> TrainAsync(Laboratory laboratory, bool isNormalized, double gain, double rate, int seed)
    {
        var network = await Architectures.PerceptronAsync(Width, Depth, inputs => gain * Architectures.Kaiming(inputs), seed, Nonlinearity.Relu,
            isNormalized ? async () => [await laboratory.NormalizationAsync(new BatchNormOptions { NumFeatures = Width })] : null);
        var (stream, steps) = (laboratory.Stream(seed), laboratory.IsBrief ? 1 : Steps);
        return await Trial.RunAsync(laboratory, network, () => stream.Next(Batch), steps, steps, new(rate));
    }

    private static double[,] Means(Func<double, double, double> mean)
    {
        var values = new double[Gains.Length, Rates.Length];
        for (var row = 0; row < Gains.Length; row++)
            for (var column = 0; column < Rates.Length; column++) values[row, column] = mean(Gains[row], Rates[column]);
        return values;
    }
}
