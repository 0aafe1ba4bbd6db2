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
            (_statisticOf[element], _parameterOf[element]) = layout.OverChannels
                ? ((index[0] * Product(dimensions, 2, dimensions.Length)) + Place(index, dimensions, 2, dimensions.Length), index[1])
                : isOverRows
                ? (Place(index, dimensions, 0, leading), Place(index, dimensions, leading, dimensions.Length))
                : ((index[0] * groups) + (index[axis] * groups / dimensions[axis]), index[axis]);
            Increment(index, dimensions);
        }
        Parameters = layout.OverChannels ? dimensions[1] : isOverRows ? Product(dimensions, leading, dimensions.Length) : dimensions[axis];
        var perSample = layout.OverChannels ? Product(dimensions, 2, dimensions.Length) : isOverRows ? Product(dimensions, 1, leading) : groups;
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
        // What is left of the mean makes it as good as double gets.
        for (var again = 0; again < 2 && _hasMean; again++)
        {
            var left = new double[Statistics];
            for (var i = 0; i < x.Length; i++) left[_statisticOf[i]] += x[i] - mean[_statisticOf[i]];
            for (var s = 0; s < Statistics; s++) mean[s] += left[s] / Count;
        }
        for (var i = 0; i < x.Length; i++) variance[_statisticOf[i]] += (x[i] - mean[_statisticOf[i]]) * (x[i] - mean[_statisticOf[i]]);
        for (var s = 0; s < Statistics; s++) variance[s] /= Count;
        return (mean, variance);
    }

    /// <summary>x̂ = (x − μ)/√(σ² + ε), and 0 where σ² = ε = 0.</summary>
    public double[] Normalize(double[] x, double eps) => Normalize(x, Moments(x), eps);

    /// <summary>y = γ·x̂ + β.</summary>
    public double[] Output(double[] x, double[]? gamma, double[]? beta, double eps)
    {
        var y = Normalize(x, eps);
        for (var i = 0; i < y.Length; i++) y[i] = ((gamma?[_parameterOf[i]] ?? 1) * y[i]) + (beta?[_parameterOf[i]] ?? 0);
        return y;
    }

    /// <summary>dx = s·[gγ − mean(gγ) − x̂·mean(gγ·x̂)], for RMS without the first mean; dγ = Σg·x̂, dβ = Σg.</summary>
    public ReferenceGradients Gradients(double[] x, double[] g, double[]? gamma, double eps)
    {
        var moments = Moments(x);
        var normalized = Normalize(x, moments, eps);
        var (weighted, along) = (new double[Statistics], new double[Statistics]);
        var (dx, dGamma, dBeta) = (new double[x.Length], new double[Parameters], new double[Parameters]);
        for (var i = 0; i < x.Length; i++)
        {
            var (s, p) = (_statisticOf[i], _parameterOf[i]);
            dGamma[p] += g[i] * normalized[i];
            dBeta[p] += g[i];
            weighted[s] += g[i] * (gamma?[p] ?? 1) / Count;
            along[s] += g[i] * (gamma?[p] ?? 1) * normalized[i] / Count;
        }
        for (var i = 0; i < x.Length; i++)
        {
            var s = _statisticOf[i];
            var left = (g[i] * (gamma?[_parameterOf[i]] ?? 1)) - (_hasMean ? weighted[s] : 0) - (normalized[i] * along[s]);
            dx[i] = InverseDeviation(moments.Variance[s], eps) * left;
        }
        return new ReferenceGradients(dx, dGamma, dBeta);
    }

    private double[] Normalize(double[] x, (double[] Mean, double[] Variance) moments, double eps)
    {
        var scale = Array.ConvertAll(moments.Variance, variance => InverseDeviation(variance, eps));
        var normalized = new double[x.Length];
        for (var i = 0; i < x.Length; i++) normalized[i] = (x[i] - moments.Mean[_statisticOf[i]]) * scale[_statisticOf[i]];
        return normalized;
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
