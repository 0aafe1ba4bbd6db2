using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>What becomes of normalizations as the batch gets small (Wu and He 2018; Ioffe 2017).</summary>
public sealed class SmallBatches : IExperiment
{
    private const int Images = 16_000;
    private const double RatePerImage = 0.05 / 64, Momentum = 0.9;
    private static readonly int[] Batches = [64, 4, 2];

    /// <inheritdoc/>
    public string Name => "small-batches";

    /// <inheritdoc/>
    public string Title => "Small batches";

    /// <inheritdoc/>
    public string Claim =>
        "Batch norm's error grows as batches get small; group norm's does not (Wu & He 2018), and batch renorm's grows less (Ioffe 2017)";

    /// <inheritdoc/>
    public string Paper => "batch 2 on ImageNet: error 34.7 % with batch norm, 24.1 % with group norm";

    /// <inheritdoc/>
    public string Method =>
        $"A small convolutional network (two convolutions and a hidden layer, normalized all three) sees {Images:#,0} shifted digits in " +
        $"batches of 64, 4 and 2, with SGD and momentum {Momentum}; the learning rate is proportional to the batch, 0.05 at 64, as in the " +
        "paper. Accuracy is that of inference with running statistics (momentum 0.1), on held-out digits.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        var seeds = laboratory.Seeds;
        // The long runs first, so that no core waits for another at the end.
        var cases = (from batch in Batches.Reverse() from kind in Normalizations.Kinds from seed in seeds select (batch, kind, seed)).ToList();
        var runsOfCases = await laboratory.EachAsync(cases, run => TrainAsync(laboratory, run.batch, run.kind, run.seed));
        var trials = cases.Zip(runsOfCases).ToDictionary(pair => pair.First, pair => pair.Second);
        double Final(int batch, string kind, int seed) => trials[(batch, kind, seed)].Final;

        var rows = from batch in Batches
                   from kind in Normalizations.Kinds
                   let runs = seeds.Select(seed => trials[(batch, kind, seed)]).ToList()
                   let averages = new[] { runs.Average(run => run.Final), runs.Average(run => run.TrainModeAccuracy) }
                   select (string[])[$"{batch}", kind, .. runs.Select(run => Tables.Precise(run.Final)), .. averages.Select(Tables.Precise)];
        var table = Tables.Markdown(["batch", "normalization", .. seeds.Select(seed => $"accuracy, seed {seed}"), "mean", "mean in training, before each step"], rows);
        var groups = Batches.Select(batch => new BarGroup($"batch {batch}",
            [.. Normalizations.Kinds.Select(kind => (IReadOnlyList<double>)[.. seeds.Select(seed => Final(batch, kind, seed))])])).ToList();
        var plot = Plots.Bars("Accuracy by batch size", "", "accuracy on held-out digits", Normalizations.Kinds, groups);
        var gaps = seeds.Select(seed => Final(2, "group norm", seed) - Final(2, "batch norm", seed)).ToList();
        var seen = string.Join(", ", gaps.Select(Tables.Number));
        var means = Normalizations.Kinds.Select(kind => $"{kind} {Tables.Number(seeds.Average(seed => Final(2, kind, seed)))}");
        return new($"accuracy at batch 2: {string.Join(", ", means)}",
            [new("at batch 2 group norm is better than batch norm by 0.2 or more, in each seed", seen, gaps.All(gap => gap >= 0.2))], [table], plot);
    }

    private static async Task<Trial> TrainAsync(Laboratory laboratory, int batch, string kind, int seed)
    {
        var steps = laboratory.Steps(Images / batch);
        var network = await Architectures.ConvolutionalAsync(laboratory, seed, sample => Normalizations.Options(kind, sample, steps));
        var stream = laboratory.Stream(seed);
        return await Trial.RunAsync(laboratory, network, () => stream.Next(batch), steps, steps, new(RatePerImage * batch, Momentum), areImagesPlanes: true);
    }
}
