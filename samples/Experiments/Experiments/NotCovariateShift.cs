using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>Noise behind each batch norm layer does not slow training down: it is not the stable distribution that helps (Santurkar et al. 2018).</summary>
public sealed class NotCovariateShift : IExperiment
{
    private const int Width = 100, Depth = 3, Batch = 60, Every = 10, Steps = 1200;
    private const double Rate = 2, Level = 0.8;

    /// <inheritdoc/>
    public string Name => "covariate-shift";

    /// <inheritdoc/>
    public string Title => "Not covariate shift";

    /// <inheritdoc/>
    public string Claim =>
        "With noise that shifts and scales every unit anew at each step, behind each batch norm layer, training is still as fast " +
        "(Santurkar et al. 2018)";

    /// <inheritdoc/>
    public string Paper => "\"noisy\" batch norm trains as fast as batch norm, and faster than none (figure 2)";

    /// <inheritdoc/>
    public string Method =>
        $"The network of *fewer steps* at the same learning rate ({Rate}): plain, with batch norm, and with batch norm and noise of " +
        "another mean (up to ±0.5) and another scale (1 to 1.25) for each unit at each step behind it; inference is without noise. " +
        $"Compared are the steps until {Level:0.0} of the held-out digits are recognized, within {Steps:#,0}.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        string[] kinds = ["plain", "batch norm", "batch norm and noise"];
        var seeds = laboratory.Seeds;
        var trials = await laboratory.EachAsync([.. from kind in kinds from seed in seeds select (kind, seed)], run => TrainAsync(laboratory, run.kind, run.seed));
        Trial Of(int kind, int seed) => trials[kind * seeds.Count + seed];
        double StepsTo(int kind, int seed) => Of(kind, seed).StepsTo(Level) ?? double.PositiveInfinity;

        var rows = seeds.Select((seed, i) => (string[])[$"{seed}", .. kinds.Select((_, kind) => Tables.Whole(StepsTo(kind, i))),
            .. kinds.Select((_, kind) => Tables.Precise(Of(kind, i).Final))]);
        var table = Tables.Markdown(["seed", .. kinds.Select(kind => $"{kind}: steps"), .. kinds.Select(kind => $"{kind}: accuracy at the end")], rows);
        double Mean(int kind) => seeds.Select((_, i) => StepsTo(kind, i)).Average();
        // Where one of them never gets there the change is no number, and the gate does not hold.
        var change = Mean(2) / Mean(1) - 1;
        var plot = Plots.Lines("Noise behind batch norm", "steps of training", "accuracy on held-out digits",
            [.. kinds.Select((kind, k) => new Series(kind, [.. seeds.Select((_, i) => Of(k, i).Accuracies)]))], (0, 1));
        var relative = double.IsFinite(change) ? FormattableString.Invariant($" ({change:+0 %;−0 %;0 %})") : "";
        var seen = $"{Tables.Whole(Mean(1))} steps without noise, {Tables.Whole(Mean(2))} with it{relative}, mean of the seeds";
        return new(seen, [new("noise changes the steps that are needed by less than a quarter, in the mean of the seeds", seen, Math.Abs(change) < 0.25)], [table], plot);
    }

    private static async Task<Trial> TrainAsync(Laboratory laboratory, string kind, int seed)
    {
        var noise = new Random(5000 + seed);
        async Task<IReadOnlyList<ILayer>> Normalized()
        {
            var layer = await laboratory.NormalizationAsync(new BatchNormOptions { NumFeatures = Width });
            return kind == "batch norm" ? [layer] : [layer, new InternalNoise(new Random(noise.Next()))];
        }
        var network = await Architectures.PerceptronAsync(Width, Depth, Architectures.Xavier, seed, Nonlinearity.Sigmoid, kind == "plain" ? null : Normalized);
        var stream = laboratory.Stream(seed);
        return await Trial.RunAsync(laboratory, network, () => stream.Next(Batch), laboratory.Steps(Steps), Every, new(Rate));
    }
}
