using BnService.Experiments.Data;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>Batches of few classes: what batch norm makes of a sample depends on its company, and serving has none (Ioffe 2017).</summary>
public sealed class FewClasses : IExperiment
{
    private const int Batch = 32, Steps = 600, TestBatches = 30;
    private const double Rate = 0.05, Momentum = 0.9;
    private static readonly string[] Compared = ["batch norm", "batch renorm", "group norm"];

    /// <inheritdoc/>
    public string Name => "non-iid";

    /// <inheritdoc/>
    public string Title => "Non-iid batches";

    /// <inheritdoc/>
    public string Claim =>
        "Where the samples of a batch are alike, batch norm makes something else of them in training than in serving; batch renorm does " +
        "not (Ioffe 2017)";

    /// <inheritdoc/>
    public string Paper =>
        "ImageNet with few classes in each batch: much less accurate with batch norm, with batch renorm as with mixed batches (section " +
        "4.3)";

    /// <inheritdoc/>
    public string Method =>
        $"The network of *small batches*, {Steps} steps; each batch of {Batch} shows two digits out of ten, drawn anew for each. Then " +
        $"{TestBatches} such batches of held-out digits are recognized twice by the same weights: as in training, with the statistics of " +
        "their batch, and as in serving, with the running ones. The gap is how far the two accuracies lie apart. Batch norm that was " +
        "trained with all classes in each batch, and is judged by such, stands beside it.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        var seeds = laboratory.Seeds;
        (string Name, bool IsIid)[] kinds = [.. Compared.Select(kind => (kind, false)), ("batch norm", true)];
        var results = await laboratory.EachAsync([.. from kind in kinds from seed in seeds select (kind, seed)],
            run => MeasureAsync(laboratory, run.kind.Name, run.kind.IsIid, run.seed));
        Accuracies Of(int kind, int seed) => results[kind * seeds.Count + seed];

        string Label(int kind) => kinds[kind].IsIid ? $"{kinds[kind].Name}, all classes" : kinds[kind].Name;
        var rows = from kind in Enumerable.Range(0, kinds.Length)
                   from seed in Enumerable.Range(0, seeds.Count)
                   let result = Of(kind, seed)
                   select (string[])[Label(kind), $"{seeds[seed]}", Tables.Precise(result.Training), Tables.Precise(result.Serving), Tables.Precise(result.Gap)];
        var table = Tables.Markdown(["normalization", "seed", "as in training", "as in serving", "gap"], rows);
        var groups = Enumerable.Range(0, kinds.Length).Select(kind => new BarGroup(Label(kind),
            [[.. seeds.Select((_, i) => Of(kind, i).Training)], [.. seeds.Select((_, i) => Of(kind, i).Serving)]])).ToList();
        var plot = Plots.Bars("Two classes in each batch", "", "accuracy on held-out digits", ["as in training", "as in serving"], groups);
        double Mean(int kind, Func<Accuracies, double> value) => seeds.Select((_, i) => value(Of(kind, i))).Average();
        string Means(Func<Accuracies, double> value) => string.Join(", ", Compared.Select((kind, k) => $"{kind} {Tables.Number(Mean(k, value))}"));
        var isCured = seeds.Select((_, i) => i).All(i => Of(0, i).Gap > 2 * Of(1, i).Gap && Of(0, i).Gap > 2 * Of(2, i).Gap);
        return new($"gap between training and serving: {Means(result => result.Gap)}; accuracy in serving: {Means(result => result.Serving)}",
            [new("batch norm's gap is more than twice those of batch renorm and of group norm, in each seed", Means(result => result.Gap), isCured)], [table], plot);
    }

    private static async Task<Accuracies> MeasureAsync(Laboratory laboratory, string kind, bool isIid, int seed)
    {
        var steps = laboratory.Steps(Steps);
        await using var network = await Architectures.ConvolutionalAsync(laboratory, seed, sample => Normalizations.Options(kind, sample, steps));
        var (stream, random) = (laboratory.Stream(seed), new Random(9000 + seed));
        Digits Next(ShiftedDigits digits)
        {
            var first = random.Next(Digits.Classes);
            var second = (first + 1 + random.Next(Digits.Classes - 1)) % Digits.Classes;
            return isIid ? digits.Next(Batch) : digits.Next(Batch, first, second);
        }
        for (var step = 0; step < steps; step++)
        {
            var batch = Next(stream);
            await network.TrainAsync(batch.Planes, batch.Labels, new(Rate, Momentum));
        }
        var heldOut = new ShiftedDigits(laboratory.HeldOut, new Random(8000 + seed));
        var tests = Enumerable.Range(0, TestBatches).Select(_ => Next(heldOut)).ToList();
        // Serving first: what is normalized as in training moves the running statistics.
        async Task<double> AccuracyAsync(bool training)
        {
            var correct = 0;
            foreach (var test in tests) correct += Loss.Correct(await network.ForwardAsync(test.Planes, training), test.Labels);
            return correct / (double)(TestBatches * Batch);
        }
        var serving = await AccuracyAsync(training: false);
        return new(await AccuracyAsync(training: true), serving);
    }

    private sealed record Accuracies(double Training, double Serving)
    {
        public double Gap => Math.Abs(Training - Serving);
    }
}
