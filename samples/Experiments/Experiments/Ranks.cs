using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>Workers that synchronize their batch norm train as one with the whole batch; workers that do not, do not (Peng et al. 2018; Zhang et al. 2018).</summary>
public sealed class Ranks : IExperiment
{
    private const int Workers = 4, Part = 8, Width = 64, Depth = 2, Steps = 60;
    private static readonly Sgd Sgd = new(0.1);
    private static readonly string[] Kinds = ["synchronized", "each its own"];

    /// <inheritdoc/>
    public string Name => "ranks";

    /// <inheritdoc/>
    public string Title => "Ranks";

    /// <inheritdoc/>
    public string Claim =>
        "Workers with parts of a batch and synchronized batch norm are one worker with the whole batch (Peng et al. 2018, Zhang et al. " +
        "2018)";

    /// <inheritdoc/>
    public string Paper => "the same statistics as the whole batch's, by definition";

    /// <inheritdoc/>
    public string Method =>
        $"A perceptron with {Depth} hidden layers of {Width} ReLUs and batch norm is trained by one worker in batches of " +
        $"{Workers * Part}, by {Workers} with {Part} samples each and synchronized batch norm, and by {Workers} each of which normalizes " +
        "its part by itself; gradients are added up over the workers. Differences are those of all weights to the one worker's, relative " +
        "to the largest weight, after each step.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        var seeds = laboratory.Seeds;
        var runs = await laboratory.EachAsync(seeds, seed => TrainAsync(laboratory, seed));
        string[] header = ["seed", .. Kinds.SelectMany(kind => (string[])[$"{kind}: first step", $"{kind}: last step"])];
        static string[] Ends((double X, double Y)[] curve) => [Tables.Scientific(curve[0].Y), Tables.Scientific(curve[^1].Y)];
        var table = Tables.Markdown(header, seeds.Zip(runs, (seed, run) => (string[])[$"{seed}", .. run.SelectMany(Ends)]));
        var plot = Plots.Lines("Four workers and one: difference of the weights", "steps of training", "relative difference",
            [.. Kinds.Select((kind, k) => new Series(kind, [.. runs.Select(run => run[k])]))], isLogarithmic: true);
        var (joint, apart) = (runs.Max(run => run[0].Max(point => point.Y)), runs.Min(run => run[1][^1].Y));
        var seen = $"weights differ by {Tables.Scientific(joint)} at most when synchronized, by {Tables.Scientific(apart)} at least when not";
        const string requirement = "synchronized workers are within 1e-5 of the one after all steps, the others are further than 1e-2, in each seed";
        return new(seen, [new(requirement, seen, joint < 1e-5 && apart > 1e-2)], [table], plot);
    }

    /// <summary>The distances of the synchronized workers, and of the others, after each step.</summary>
    private static async Task<(double X, double Y)[][]> TrainAsync(Laboratory laboratory, int seed)
    {
        var cancellationToken = laboratory.CancellationToken;
        var options = new BatchNormOptions { NumFeatures = Width };
        Task<Network> Perceptron(Func<Task<ILayer>> layer) =>
            Architectures.PerceptronAsync(Width, Depth, Architectures.Kaiming, seed, Nonlinearity.Relu, async () => [await layer()]);
        async Task<ILayer> Own() => await laboratory.NormalizationAsync(options);

        await using var whole = await Perceptron(Own);
        // The shared sessions belong to a network of their own, which is there to keep and delete them.
        await using var shared = await Perceptron(Own);
        var sessions = shared.Layers.OfType<NormalizationLayer>().Select(layer => layer.Session).ToList();
        List<Network> synchronized = [], apart = [];
        for (var rank = 0; rank < Workers; rank++)
        {
            var (own, next) = (rank, 0);
            ILayer Shared() => new SynchronizedNormalization(sessions[next++].Sync("workers", own, Workers), cancellationToken);
            synchronized.Add(await Perceptron(() => Task.FromResult(Shared())));
            apart.Add(await Perceptron(Own));
        }
        try
        {
            var (team, others) = (new WorkerTeam(synchronized), new WorkerTeam(apart));
            var stream = laboratory.Stream(seed);
            var (together, alone) = (new List<(double, double)>(), new List<(double, double)>());
            for (var step = 1; step <= laboratory.Steps(Steps); step++)
            {
                var batch = stream.Next(Workers * Part);
                await whole.TrainAsync(batch.Images, batch.Labels, Sgd);
                await team.TrainAsync(batch, Sgd, cancellationToken);
                await others.TrainAsync(batch, Sgd, cancellationToken);
                together.Add((step, Distance(synchronized[0], whole)));
                alone.Add((step, Distance(apart[0], whole)));
            }
            return [[.. together], [.. alone]];
        }
        finally
        {
            foreach (var network in apart) await network.DisposeAsync();
        }
    }

    private static double Distance(Network network, Network whole) => Differences.Relative(Weights(network), Weights(whole));

    private static float[] Weights(Network network) => [.. network.Parameters.SelectMany(parameter => parameter.Values)];
}
