using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>
/// After few steps a moving average is not yet what the layer sees; statistics gathered over a data set are (Ioffe and Szegedy 2015,
/// algorithm 2; Wu and Johnson 2021).
/// </summary>
public sealed class PopulationEstimates : IExperiment
{
    private const int Width = 100, Depth = 3, Batch = 60, CalibrationBatches = 5, CalibrationBatch = 200, Early = 40;
    private const double Rate = 0.1, SgdMomentum = 0.9;
    private static readonly int[] Looks = [5, 10, 20, 40, 80, 160, 320];
    private static readonly double[] Momenta = [0.1, 0.01];
    private static readonly string[] Kinds = ["average, momentum 0.1", "average, momentum 0.01", "exact calibration"];

    /// <inheritdoc/>
    public string Name => "population";

    /// <inheritdoc/>
    public string Title => "Population statistics";

    /// <inheritdoc/>
    public string Claim =>
        "Statistics gathered exactly over training data serve better than a moving average, above all after few steps (Ioffe & Szegedy " +
        "2015, algorithm 2; Wu & Johnson 2021)";

    /// <inheritdoc/>
    public string Paper => "moving averages lag behind while the network changes fast (Wu & Johnson, section 3)";

    /// <inheritdoc/>
    public string Method =>
        $"A perceptron with {Depth} hidden layers of {Width} ReLUs and batch norm. After 5 to 320 steps the held-out digits are inferred " +
        $"with the moving average (0.1 is PyTorch's momentum, 0.01 Keras's), and with exact statistics: {CalibrationBatches} batches of " +
        $"{CalibrationBatch} training digits go through the network, layer by layer, into `calibration`. Then the snapshot from before is " +
        "restored and training goes on.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        var seeds = laboratory.Seeds;
        var runs = await laboratory.EachAsync([.. from momentum in Momenta from seed in seeds select (momentum, seed)],
            run => TrainAsync(laboratory, run.momentum, run.seed));
        // Training never looks at the running statistics: both momenta come by the same weights, and one calibration is enough.
        (double X, double Y)[] Curve(int kind, int seed) => kind < Momenta.Length ? runs[kind * seeds.Count + seed].Moving : runs[seed].Calibrated;
        double Mean(int kind, int look) => seeds.Select((_, i) => Curve(kind, i)[look].Y).Average();

        var looks = Looks.Take(runs[0].Moving.Length).ToList();
        var table = Tables.Markdown(["steps", .. Kinds], looks.Select((look, i) => (string[])[$"{look}", .. Kinds.Select((_, kind) => Tables.Precise(Mean(kind, i)))]));
        var plot = Plots.Lines("Inference after few steps", "steps of training", "accuracy on held-out digits",
            [.. Kinds.Select((kind, k) => new Series(kind, [.. seeds.Select((_, i) => Curve(k, i))]))], (0, 1));
        var early = seeds.Select((_, i) => Kinds.Select((_, kind) => Curve(kind, i).Where(point => point.X <= Early).Average(point => point.Y)).ToList()).ToList();
        var seen = string.Join("; ", early.Select(values => string.Join(", ", values.Select(Tables.Number))));
        string EarlyMean(int kind) => Tables.Number(early.Average(values => values[kind]));
        var isBetter = early.All(values => values[2] > values[0] && values[2] > values[1]);
        return new($"mean accuracy up to {Early} steps: {EarlyMean(2)} calibrated, {EarlyMean(0)} with a moving average of momentum 0.1, {EarlyMean(1)} of 0.01",
            [new($"up to {Early} steps calibration is better than either moving average, in each seed", seen, isBetter)],
            [$"Mean of the seeds:\n\n{table}"], plot);
    }

    private static async Task<((double X, double Y)[] Moving, (double X, double Y)[] Calibrated)> TrainAsync(Laboratory laboratory, double momentum, int seed)
    {
        await using var network = await Architectures.PerceptronAsync(Width, Depth, Architectures.Kaiming, seed, Nonlinearity.Relu,
            async () => [await laboratory.NormalizationAsync(new BatchNormOptions { NumFeatures = Width, Momentum = momentum })]);
        var (stream, calibration) = (laboratory.Stream(seed), laboratory.Stream(3000 + seed));
        var (moving, calibrated) = (new List<(double, double)>(), new List<(double, double)>());
        var (looks, steps) = (laboratory.IsBrief ? Looks[..2] : Looks, 0);
        foreach (var look in looks)
        {
            for (; steps < look; steps++)
            {
                var batch = stream.Next(Batch);
                await network.TrainAsync(batch.Images, batch.Labels, new(Rate, SgdMomentum));
            }
            moving.Add((look, await network.AccuracyAsync(laboratory.Test.Images, laboratory.Test.Labels)));
            if (momentum != Momenta[0]) continue;
            var batches = Enumerable.Range(0, CalibrationBatches).Select(_ => calibration.Next(CalibrationBatch).Images);
            calibrated.Add((look, await CalibratedAccuracyAsync(laboratory, network, [.. batches])));
        }
        return ([.. moving], [.. calibrated]);
    }

    private static async Task<double> CalibratedAccuracyAsync(Laboratory laboratory, Network network, Tensor[] batches)
    {
        var before = new List<(LayerSession Session, long Version)>();
        foreach (var layer in network.Layers)
        {
            if (layer is NormalizationLayer { Session: var session })
            {
                var snapshot = await session.CreateSnapshotAsync(cancellationToken: laboratory.CancellationToken);
                before.Add((session, snapshot.Version));
                foreach (var batch in batches) await session.AddCalibrationBatchAsync(batch.Values, batch.Shape, cancellationToken: laboratory.CancellationToken);
                await session.CommitCalibrationAsync(cancellationToken: laboratory.CancellationToken);
            }
            // The layers behind see what they will see when serving.
            for (var i = 0; i < batches.Length; i++) batches[i] = await layer.ForwardAsync(batches[i], training: false);
        }
        var accuracy = await network.AccuracyAsync(laboratory.Test.Images, laboratory.Test.Labels);
        foreach (var (session, version) in before)
        {
            await session.RestoreSnapshotAsync(version, cancellationToken: laboratory.CancellationToken);
            await session.DeleteSnapshotAsync(version, laboratory.CancellationToken);
        }
        return accuracy;
    }
}
