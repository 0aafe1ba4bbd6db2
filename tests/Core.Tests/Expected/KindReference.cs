using BnService.Core.Normalizers;

namespace BnService.Core.Tests.Expected;

/// <summary>
/// Layer, group, instance and RMS normalization as their formulas have them, in double and over index arithmetic from the shape itself:
/// each element has a statistic and a parameter, and that is all in which the kinds differ. It shares no code with what it judges.
/// </summary>
internal sealed class KindReference
{
    private readonly int[] _statisticOf, _parameterOf;
    private readonly bool _hasMean;

    public KindReference(KindLayout layout)
    {
        var (dimensions, kind) = (layout.Shape, layout.Kind);
        var elements = dimensions.Aggregate(1, (product, d) => checked(product * d));
        _hasMean = kind != NormalizerKind.RmsNorm;
        (_statisticOf, _parameterOf) = (new int[elements], new int[elements]);
        var index = new int[dimensions.Length];
        var isOverRows = kind is NormalizerKind.LayerNorm or NormalizerKind.RmsNorm;
        var leading = dimensions.Length - layout.Trailing;
        var axis = layout.ChannelAxis == 1 ? 1 : dimensions.Length - 1;
        var groups = kind == NormalizerKind.InstanceNorm ? dimensions[axis] : layout.Groups;
        for (var element = 0; element < elements; element++)
        {
            (_statisticOf[element], _parameterOf[element]) = isOverRows
                ? (Place(index, dimensions, 0, leading), Place(index, dimensions, leading, dimensions.Length))
                : ((index[0] * groups) + (index[axis] * groups / dimensions[axis]), index[axis]);
            Increment(index, dimensions);
        }
        Parameters = isOverRows ? Product(dimensions, leading, dimensions.Length) : dimensions[axis];
        var perSample = isOverRows ? Product(dimensions, 1, leading) : groups;
        Statistics = elements == 0 ? 0 : leading == 0 && isOverRows ? 1 : dimensions[0] * perSample;
        Count = Statistics == 0 ? 0 : elements / Statistics;
        Members = Enumerable.Range(0, Statistics).Select(_ => new int[Count]).ToArray();
        var filled = new int[Statistics];
        for (var i = 0; i < elements; i++) Members[_statisticOf[i]][filled[_statisticOf[i]]++] = i;
    }

    public int Statistics { get; }

    public int Parameters { get; }

    /// <summary>m, the number of values of each statistic.</summary>
    public int Count { get; }

    /// <summary>The elements of every statistic.</summary>
    public int[][] Members { get; }

    public int StatisticOf(int element) => _statisticOf[element];

    public int ParameterOf(int element) => _parameterOf[element];

    /// <summary>Mean and biased variance; for RMS 0 and the mean of x².</summary>
    public (double[] Mean, double[] Variance) Moments(double[] x)
    {
        var (mean, variance) = (new double[Statistics], new double[Statistics]);
        for (var s = 0; s < Statistics; s++)
        {
            if (_hasMean)
            {
                mean[s] = Members[s].Average(i => x[i]);
                // What is left of the mean makes it as good as double gets.
                mean[s] += Members[s].Average(i => x[i] - mean[s]);
            }
            variance[s] = Members[s].Average(i => (x[i] - mean[s]) * (x[i] - mean[s]));
        }
        return (mean, variance);
    }

    /// <summary>x̂ = (x − μ)/√(σ² + ε), and 0 where σ² = ε = 0.</summary>
    public double[] Normalize(double[] x, double eps)
    {
        var (mean, variance) = Moments(x);
        return [.. x.Select((value, i) => (value - mean[_statisticOf[i]]) * InverseDeviation(variance[_statisticOf[i]], eps))];
    }

    /// <summary>y = γ·x̂ + β.</summary>
    public double[] Output(double[] x, double[]? gamma, double[]? beta, double eps) =>
        [.. Normalize(x, eps).Select((normalized, i) => ((gamma?[_parameterOf[i]] ?? 1) * normalized) + (beta?[_parameterOf[i]] ?? 0))];

    /// <summary>dx = s·[gγ − mean(gγ) − x̂·mean(gγ·x̂)], for RMS without the first mean; dγ = Σg·x̂, dβ = Σg.</summary>
    public ReferenceGradients Gradients(double[] x, double[] g, double[]? gamma, double eps)
    {
        var (normalized, variance) = (Normalize(x, eps), Moments(x).Variance);
        double Weighted(int i) => g[i] * (gamma?[_parameterOf[i]] ?? 1);
        var (dx, dGamma, dBeta) = (new double[x.Length], new double[Parameters], new double[Parameters]);
        for (var s = 0; s < Statistics; s++)
        {
            var mean = _hasMean ? Members[s].Average(Weighted) : 0;
            var along = Members[s].Average(i => Weighted(i) * normalized[i]);
            foreach (var i in Members[s]) dx[i] = InverseDeviation(variance[s], eps) * (Weighted(i) - mean - (normalized[i] * along));
        }
        for (var i = 0; i < x.Length; i++)
        {
            dGamma[_parameterOf[i]] += g[i] * normalized[i];
            dBeta[_parameterOf[i]] += g[i];
        }
        return new ReferenceGradients(dx, dGamma, dBeta);
    }

    private static double InverseDeviation(double variance, double eps) => variance + eps == 0 ? 0 : 1 / Math.Sqrt(variance + eps);

    private static int Place(int[] index, int[] dimensions, int from, int to)
    {
        var place = 0;
        for (var axis = from; axis < to; axis++) place = (place * dimensions[axis]) + index[axis];
        return place;
    }

    private static int Product(int[] dimensions, int from, int to) =>
        dimensions.Skip(from).Take(to - from).Aggregate(1, (product, d) => checked(product * d));

    // The next index in row-major order.
    private static void Increment(int[] index, int[] dimensions)
    {
        for (var axis = index.Length - 1; axis >= 0; axis--)
        {
            if (++index[axis] < dimensions[axis]) return;
            index[axis] = 0;
        }
    }
}
