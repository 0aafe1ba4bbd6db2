using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>Batch norm needs fewer steps to the accuracy that the network reaches without it (Ioffe and Szegedy 2015).</summary>
public sealed class FewerSteps : IExperiment
{
    private const int Width = 100, Depth = 3, Batch = 60, Every = 20, HeadlineSteps = 3000, TuningSteps = 1200, TunedSteps = 2000, TuningSeed = 100;
    private const double HeadlineRate = 2;
    private static readonly double[] Rates = [0.5, 1, 2, 4], Gains = [1, 4];

    /// <inheritdoc/>
    public string Name => "fewer-steps";

    /// <inheritdoc/>
    public string Title => "Fewer steps";

    /// <inheritdoc/>
    public string Claim => "Batch norm matches the network's accuracy in less than half the steps (Ioffe & Szegedy 2015)";

    /// <inheritdoc/>
    public string Paper => "less than half the steps at the same learning rate; 14 times fewer at a higher one (Inception)";

    /// <inheritdoc/>
    public string Method =>
        $"A perceptron with {Depth} hidden layers of {Width} sigmoids, as in the paper's figure 1, batches of {Batch} endless shifted " +
        $"digits, plain SGD, the same initial weights (Xavier) and learning rate ({HeadlineRate}) with and without batch norm. Ratio: the " +
        "first step at which the network with batch norm is as accurate on held-out digits as the plain one ever is, over the step at " +
        $"which the plain one is. Tuned: each network has the learning rate ({string.Join(", ", Rates)}) and the scale of initial weights " +
        $"(1 or 4 times Xavier; 4 is Glorot and Bengio's advice for sigmoids) with the highest accuracy on average over {TuningSteps} " +
        "steps of a run with another seed.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        bool[] both = [false, true];
        var headline = await laboratory.EachAsync([.. from normalized in both from seed in laboratory.Seeds select (normalized, seed)],
            run => TrainAsync(laboratory, run.normalized, new(HeadlineRate, 1), run.seed, HeadlineSteps), 0, 0.45);
        var settings = (from rate in Rates from gain in Gains select new Setting(rate, gain)).ToList();
        var tuning = await laboratory.EachAsync([.. from normalized in both from setting in settings select (normalized, setting)],
            run => TrainAsync(laboratory, run.normalized, run.setting, TuningSeed, TuningSteps), 0.45, 0.75);
        var best = both.Select((_, i) => settings[Enumerable.Range(0, settings.Count).MaxBy(s => Average(tuning[i * settings.Count + s]))]).ToList();
        var tuned = await laboratory.EachAsync([.. from normalized in both from seed in laboratory.Seeds select (normalized, seed)],
            run => TrainAsync(laboratory, run.normalized, best[run.normalized ? 1 : 0], run.seed, TunedSteps), 0.75, 1);
        var tuningRows = settings.Select((setting, i) => (string[])[$"{setting}", .. both.Select((_, b) => Tables.Precise(Average(tuning[b * settings.Count + i])))]);
        return Judge(laboratory.Seeds, headline, tuned, best, Tables.Markdown(["setting", "plain", "batch norm"], tuningRows));
    }

    private static Outcome Judge(IReadOnlyList<int> seeds, IReadOnlyList<Trial> headline, IReadOnlyList<Trial> tuned, List<Setting> best, string tuningTable)
    {
        var ratios = seeds.Select((_, i) => Ratio(headline[i], headline[seeds.Count + i])).ToList();
        var tunedRatios = seeds.Select((_, i) => Ratio(tuned[i], tuned[seeds.Count + i])).ToList();
        string[] header = ["seed", "plain: best accuracy", "at step", "batch norm: as good at step", "ratio", "batch norm: best accuracy"];
        string Table(string name, IReadOnlyList<Trial> runs, List<double> ratios) =>
            $"{name}:\n\n{Tables.Markdown(header, seeds.Select((seed, i) => Row(seed, runs[i], runs[seeds.Count + i], ratios[i])))}";
        Series Line(string name, IReadOnlyList<Trial> runs, int first) => new(name, [.. seeds.Select((_, i) => runs[first + i].Accuracies)]);
        var plot = Plots.Lines("Accuracy on held-out digits, with and without batch norm", "steps of training", "accuracy",
            [Line("plain", headline, 0), Line("batch norm", headline, seeds.Count), Line("plain, tuned", tuned, 0), Line("batch norm, tuned", tuned, seeds.Count)], (0, 1));
        return new($"ratio {Listed(ratios)} at the same learning rate; {Listed(tunedRatios)} with each tuned",
            [new("fewer than half the steps at the same learning rate, in each seed", Listed(ratios), ratios.All(ratio => ratio < 0.5))],
            [Table("Same initialization and learning rate", headline, ratios), Table($"Each tuned: plain with {best[0]}; batch norm with {best[1]}", tuned, tunedRatios),
                $"Mean accuracy over the tuning run:\n\n{tuningTable}"], plot);
    }

    private static async Task<Trial> TrainAsync(Laboratory laboratory, bool isNormalized, Setting setting, int seed, int steps)
    {
        var network = await Architectures.PerceptronAsync(Width, Depth, inputs => setting.Gain * Architectures.Xavier(inputs), seed, Nonlinearity.Sigmoid,
            isNormalized ? async () => [await laboratory.NormalizationAsync(new BatchNormOptions { NumFeatures = Width })] : null);
        var stream = laboratory.Stream(seed);
        return await Trial.RunAsync(laboratory, network, () => stream.Next(Batch), laboratory.Steps(steps), Every, new(setting.Rate));
    }

    private static string[] Row(int seed, Trial plain, Trial normalized, double ratio) =>
    [
        $"{seed}", Tables.Precise(plain.Best.Accuracy), Tables.Whole(plain.Best.Step),
        Tables.Whole(normalized.StepsTo(plain.Best.Accuracy) ?? double.PositiveInfinity), Tables.Number(ratio), Tables.Precise(normalized.Best.Accuracy),
    ];

    private static double Average(Trial trial) => trial.IsDiverged ? 0 : trial.Accuracies.Average(point => point.Accuracy);

    private static double Ratio(Trial plain, Trial normalized) => (normalized.StepsTo(plain.Best.Accuracy) ?? double.PositiveInfinity) / plain.Best.Step;

    private static string Listed(IEnumerable<double> ratios) => string.Join(", ", ratios.Select(Tables.Number));

    private sealed record Setting(double Rate, double Gain)
    {
        public override string ToString() => $"learning rate {Rate}, {Gain} × Xavier";
    }
}
