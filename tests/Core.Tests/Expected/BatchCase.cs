using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Expected;

/// <summary>What a batch is normalized with, besides its layout.</summary>
/// <param name="Shape">The batch's shape.</param>
/// <param name="ChannelAxis">1 or −1.</param>
/// <param name="Granularity">What shares a statistic.</param>
/// <param name="HasGamma">Whether there is a γ.</param>
/// <param name="HasBeta">Whether there is a β.</param>
/// <param name="Eps">ε.</param>
internal sealed record BatchLayout(
    int[] Shape, int ChannelAxis = 1, Granularity Granularity = Granularity.PerChannel,
    bool HasGamma = true, bool HasBeta = true, double Eps = 1e-5)
{
    public override string ToString() =>
        $"[{string.Join(", ", Shape)}]{(ChannelAxis == 1 ? "" : " last")}" +
        $"{(Granularity == Granularity.PerChannel ? "" : " per activation")}{(HasGamma ? " γ" : "")}{(HasBeta ? " β" : "")} ε={Eps:R}";
}

/// <summary>
/// A batch with everything that it is normalized with, and what must come out. The expectations are computed when first asked for and
/// shared by all widths.
/// </summary>
internal sealed class BatchCase
{
    private readonly Lazy<ExactStatistic[]> _statistics;
    private readonly Lazy<ExactOutput> _trainingOutput, _inferenceOutput;
    private readonly Lazy<ReferenceGradients> _trainingGradients, _inferenceGradients;
    private readonly Lazy<int[][]> _members;
    private readonly Lazy<RunningStatistics> _running;

    /// <param name="layout">The batch's layout.</param>
    /// <param name="seed">Of γ, β, the gradient and the running statistics.</param>
    /// <param name="value">A value, given its statistic and a source of noise.</param>
    public BatchCase(BatchLayout layout, int seed, Func<int, Random, float> value)
    {
        Layout = layout;
        Shape = new Shape(layout.Shape);
        Reference = new Reference(layout.Shape, layout.ChannelAxis, layout.Granularity == Granularity.PerActivation);
        Plan = Normalizers.Layout.Of(Shape, new NormalizerOptions
        {
            NumFeatures = layout.Shape[layout.ChannelAxis == 1 ? 1 : ^1],
            ChannelAxis = layout.ChannelAxis,
            Granularity = layout.Granularity,
        });
        var random = new Random(seed);
        X = Fill(Shape.Count, i => value(Reference.StatisticOf(i), random));
        Dy = Fill(Shape.Count, _ => (float)random.NextGaussian());
        Gamma = layout.HasGamma ? Fill(Reference.Statistics, _ => (random.NextDouble() * 4) - 2) : null;
        Beta = layout.HasBeta ? Fill(Reference.Statistics, _ => random.NextGaussian()) : null;
        _members = new(Reference.Members);
        _statistics = new(() => Array.ConvertAll(Members, m => ExactStatistic.Of(Array.ConvertAll(m, i => X[i]))));
        // Near the batch's own, as a layer that has seen a few batches of the kind holds them.
        _running = new(() => new RunningStatistics(
            Fill(Reference.Statistics, s => Statistics[s].Mean + (0.25 * Math.Sqrt(Statistics[s].Variance) * random.NextGaussian())),
            Fill(Reference.Statistics, s => Statistics[s].Variance * (0.5 + random.NextDouble())), 1, isInitial: false));
        _trainingOutput = new(() => new ExactOutput(X, Members, Statistics, Gamma, Beta, layout.Eps));
        _inferenceOutput = new(() => new ExactOutput(X, Members,
            [.. Running.Mean.Zip(Running.Variance, ExactStatistic.Of)], Gamma, Beta, layout.Eps));
        _trainingGradients = new(() => Reference.TrainingGradients(Widened(X), Widened(Dy), Gamma, layout.Eps));
        _inferenceGradients = new(() =>
            Reference.InferenceGradients(Widened(X), Widened(Dy), Running.Mean, Running.Variance, Gamma, layout.Eps));
    }

    public BatchLayout Layout { get; }

    public Shape Shape { get; }

    public Layout Plan { get; }

    public Reference Reference { get; }

    public double Eps => Layout.Eps;

    public float[] X { get; }

    public float[] Dy { get; }

    public double[]? Gamma { get; }

    public double[]? Beta { get; }

    public RunningStatistics Running => _running.Value;

    public int[][] Members => _members.Value;

    public ExactStatistic[] Statistics => _statistics.Value;

    public ExactOutput TrainingOutput => _trainingOutput.Value;

    public ExactOutput InferenceOutput => _inferenceOutput.Value;

    public ReferenceGradients TrainingGradients => _trainingGradients.Value;

    public ReferenceGradients InferenceGradients => _inferenceGradients.Value;

    public static double[] Widened(float[] values) => Array.ConvertAll(values, v => (double)v);

    private static T[] Fill<T>(int count, Func<int, T> value)
    {
        var values = new T[count];
        for (var i = 0; i < count; i++) values[i] = value(i);
        return values;
    }
}

internal static class RandomExtensions
{
    /// <summary>A number of the standard normal distribution (Box and Muller).</summary>
    public static double NextGaussian(this Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
