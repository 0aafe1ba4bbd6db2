using BnService.Client;
using BnService.Experiments.Networks;
using BnService.Experiments.Output;

namespace BnService.Experiments.Experiments;

/// <summary>What stands before batch norm may be scaled: the output stays, the gradient by the weights shrinks as they grow (Ioffe and Szegedy 2015, section 3.3).</summary>
public sealed class ScaleInvariance : IExperiment
{
    private const int Inputs = 64, Outputs = 32, Batch = 60;
    private const double Eps = 1e-12, Tolerance = 1e-6;
    private static readonly double[] Factors = [0.01, 0.1, 0.5, 2, 3, 10, 100, 1000];

    /// <inheritdoc/>
    public string Name => "scale-invariance";

    /// <inheritdoc/>
    public string Title => "Scale invariance";

    /// <inheritdoc/>
    public string Claim =>
        "Behind weights cW batch norm's output is that behind W, and the gradient by the weights is 1/c of it (Ioffe & Szegedy 2015, " +
        "section 3.3)";

    /// <inheritdoc/>
    public string Paper => "exact, but for eps";

    /// <inheritdoc/>
    public string Method =>
        $"{Batch} digits through a random linear map from {Inputs} to {Outputs} (summed in double, rounded to float32) and batch norm " +
        $"with eps {Tables.Scientific(Eps)}; differences are the largest of any element, relative to the largest element, and c times the gradient is " +
        "compared. A power of two rounds nothing otherwise, so that nothing differs at all there.";

    /// <inheritdoc/>
    public async Task<Outcome> RunAsync(Laboratory laboratory)
    {
        var seeds = laboratory.Seeds;
        var runs = await laboratory.EachAsync(seeds, seed => MeasureAsync(laboratory, seed));
        var rows = Factors.Select((factor, i) => (string[])
            [Tables.Plain(factor), Tables.Scientific(runs.Max(run => run[i].Output)), Tables.Scientific(runs.Max(run => run[i].Gradient))]);
        var table = Tables.Markdown(["c", "difference of the output", "difference of c times the gradient"], rows);
        Series Line(string name, Func<(double Output, double Gradient), double> value) =>
            new(name, [.. runs.Select(run => (IReadOnlyList<(double, double)>)[.. run.Select((at, i) => (Math.Log10(Factors[i]), Math.Max(value(at), 1e-9)))])]);
        var plot = Plots.Lines("Differences behind weights cW", "c, as a power of ten", "relative difference",
            [Line("output", at => at.Output), Line("c × gradient", at => at.Gradient)], isLogarithmic: true);
        var largest = runs.SelectMany(run => run).Max(at => Math.Max(at.Output, at.Gradient));
        var seen = $"{Tables.Scientific(largest)} at most, for c from {Tables.Plain(Factors[0])} to {Tables.Plain(Factors[^1])}";
        return new($"largest relative difference {seen}", [new("within 1e-6, in each seed", seen, largest <= Tolerance)], [$"The largest of the seeds:\n\n{table}"], plot);
    }

    private static async Task<(double Output, double Gradient)[]> MeasureAsync(Laboratory laboratory, int seed)
    {
        var random = new Random(seed);
        var weight = Parameter.Gaussian(Inputs * Outputs, Architectures.Xavier(Inputs), random).Values;
        var (x, dy) = (laboratory.Stream(seed).Next(Batch).Images, new Tensor([Batch, Outputs], Parameter.Gaussian(Batch * Outputs, 1, random).Values));
        await using var layer = await laboratory.NormalizationAsync(new BatchNormOptions { NumFeatures = Outputs, Eps = Eps });
        async Task<(float[] Output, float[] Gradient)> At(double factor)
        {
            float[] scaled = [.. weight.Select(element => (float)(factor * element))];
            var y = await layer.ForwardAsync(new([Batch, Outputs], Product(x.Values, scaled, Batch, Inputs, Outputs)), training: true);
            var dx = await layer.BackwardAsync(dy, update: null);
            var gradient = Product(MatrixProduct.Transpose(x.Values, Batch, Inputs), dx.Values, Inputs, Batch, Outputs);
            return (y.Values, [.. gradient.Select(element => (float)(factor * element))]);
        }
        var whole = await At(1);
        var differences = new List<(double, double)>();
        foreach (var factor in Factors)
        {
            var (output, gradient) = await At(factor);
            differences.Add((Differences.Relative(output, whole.Output), Differences.Relative(gradient, whole.Gradient)));
        }
        return [.. differences];
    }

    // Summed in double and rounded once, so that what is compared is the layer and not the rounding of the linear map.
    private static float[] Product(float[] a, float[] b, int rows, int inner, int columns) =>
    [
        .. from row in Enumerable.Range(0, rows)
           from column in Enumerable.Range(0, columns)
           select (float)Enumerable.Range(0, inner).Sum(k => (double)a[row * inner + k] * b[k * columns + column]),
    ];
}
