using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>For serving, batch norm is folded into the layer before it: the same predictions with a layer less (Jacob et al. 2018).</summary>
public sealed class FoldedNetworks : IExperiment
{
    private const int Batch = 32, Steps = 300, Shown = 30;

    /// <inheritdoc/>
    public string Name => "folding";

    /// <inheritdoc/>
    public string Title => "Folding";

    /// <inheritdoc/>
    public string Claim =>
        "At inference batch norm is a linear map, and can be folded into the convolution or linear layer before it (Ioffe & Szegedy " +
        "2015; Jacob et al. 2018)";

    /// <inheritdoc/>
    public string Paper => "the same function";

    /// <inheritdoc/>
    public string Method =>
        $"The network of *small batches* is trained for {Steps} steps with batch norm; its two convolutions and its linear layer are " +
        "folded by the service, and the network that is left, without any normalization, recognizes the same held-out digits.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        var runs = await laboratory.EachAsync(laboratory.Seeds, seed => FoldAsync(laboratory, seed));
        var rows = laboratory.Seeds.Zip(runs, (seed, run) => (string[])
        [
            $"{seed}", Tables.Precise(run.Accuracy(run.Whole)), Tables.Precise(run.Accuracy(run.Folded)),
            $"{run.Same} of {run.Labels.Length}", Tables.Scientific(run.Difference),
        ]);
        var table = Tables.Markdown(["seed", "accuracy", "folded", "same predictions", "largest difference of a logit, relative to the largest"], rows);
        var pairs = runs.SelectMany(run => run.Whole.Values.Zip(run.Folded.Values).Take(Shown * run.Whole.Width));
        var plot = Plots.Diagonal("Logits before and after folding", "logit, with batch norm", "logit, folded", [.. pairs.Select(pair => ((double)pair.First, (double)pair.Second))]);
        var (same, all) = (Tables.Whole(runs.Sum(run => run.Same)), Tables.Whole(runs.Sum(run => run.Labels.Length)));
        var seen = $"{same} of {all} predictions are the same, logits within {Tables.Scientific(runs.Max(run => run.Difference))}";
        var isSame = runs.All(run => run.Same == run.Labels.Length && run.Difference < 1e-5);
        return new(seen, [new("every prediction is the same, logits within 1e-5, in each seed", seen, isSame)], [table], plot);
    }

    private static async Task<Comparison> FoldAsync(Laboratory laboratory, int seed)
    {
        await using var network = await Architectures.ConvolutionalAsync(laboratory, seed, sample => new BatchNormOptions { NumFeatures = sample[^1], ChannelAxis = -1 });
        var stream = laboratory.Stream(seed);
        for (var step = 0; step < laboratory.Steps(Steps); step++)
        {
            var batch = stream.Next(Batch);
            await network.TrainAsync(batch.Planes, batch.Labels, new(0.05, 0.9));
        }
        var layers = new List<ILayer>();
        foreach (var layer in network.Layers)
        {
            if (layer is NormalizationLayer { Session: var session }) layers[^1] = await ((IFoldable)layers[^1]).FoldAsync(session, laboratory.CancellationToken);
            else layers.Add(layer);
        }
        var test = laboratory.Test;
        var whole = await network.ForwardAsync(test.Planes, training: false);
        return new(whole, await new Network(layers).ForwardAsync(test.Planes, training: false), test.Labels);
    }

    private sealed record Comparison(Tensor Whole, Tensor Folded, int[] Labels)
    {
        public int Same { get; } = Loss.Predictions(Whole).Zip(Loss.Predictions(Folded)).Count(pair => pair.First == pair.Second);

        public double Difference { get; } = Differences.Relative(Folded.Values, Whole.Values);

        public double Accuracy(Tensor logits) => Loss.Correct(logits, Labels) / (double)Labels.Length;
    }
}
