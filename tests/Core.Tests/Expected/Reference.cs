namespace BnService.Core.Tests.Expected;

/// <summary>The three gradients of a batch.</summary>
internal sealed record ReferenceGradients(double[] Dx, double[] DGamma, double[] DBeta);

/// <summary>
/// BatchCase normalization as the textbook has it, in double and two passes, over index arithmetic from the shape itself. It shares no code
/// with what it judges.
/// </summary>
internal sealed class Reference
{
    private readonly int[] _statisticOf;

    /// <param name="dimensions">The tensor's dimensions.</param>
    /// <param name="channelAxis">1 or −1.</param>
    /// <param name="perActivation">Whether each position of a sample has a statistic of its own.</param>
    public Reference(int[] dimensions, int channelAxis, bool perActivation)
    {
        var elements = dimensions.Aggregate(1, (product, d) => checked(product * d));
        Statistics = perActivation
            ? dimensions.Skip(1).Aggregate(1, (product, d) => checked(product * d))
            : dimensions[channelAxis == 1 ? 1 : dimensions.Length - 1];
        Count = Statistics == 0 ? 0 : elements / Statistics;
        _statisticOf = new int[elements];
        var index = new int[dimensions.Length];
        for (var element = 0; element < elements; element++)
        {
            _statisticOf[element] = perActivation ? PositionInSample(index, dimensions) : index[channelAxis == 1 ? 1 : ^1];
            Increment(index, dimensions);
        }
    }

    /// <summary>Number of statistics.</summary>
    public int Statistics { get; }

    /// <summary>m, the number of values of each statistic.</summary>
    public int Count { get; }

    /// <summary>The statistic that an element belongs to.</summary>
    public int StatisticOf(int element) => _statisticOf[element];

    /// <summary>The elements of every statistic.</summary>
    public int[][] Members()
    {
        var members = Enumerable.Range(0, Statistics).Select(_ => new List<int>(Count)).ToArray();
        for (var i = 0; i < _statisticOf.Length; i++) members[_statisticOf[i]].Add(i);
        return Array.ConvertAll(members, list => list.ToArray());
    }

    /// <summary>Mean and biased variance. The mean is taken twice, the second time of what is left: it is as good as double gets then.</summary>
    public (double[] Mean, double[] Variance) Moments(double[] x)
    {
        var mean = Average(i => x[i]);
        var left = Average(i => x[i] - mean[_statisticOf[i]]);
        for (var s = 0; s < mean.Length; s++) mean[s] += left[s];
        return (mean, Average(i => (x[i] - mean[_statisticOf[i]]) * (x[i] - mean[_statisticOf[i]])));
    }

    /// <summary>y = γ·(x − μ)/√(σ² + ε) + β, and max(y, 0) where asked for.</summary>
    public double[] Normalize(double[] x, double[] mean, double[] variance, double[]? gamma, double[]? beta, double eps, bool relu)
    {
        var y = new double[x.Length];
        for (var i = 0; i < x.Length; i++)
        {
            var s = _statisticOf[i];
            y[i] = ((gamma?[s] ?? 1) * Normalized(x[i], mean[s], variance[s], eps)) + (beta?[s] ?? 0);
            if (relu && y[i] < 0) y[i] = 0;
        }
        return y;
    }

    /// <summary>dβ = Σg, dγ = Σg·x̂, dx = γ·s·[g − dβ/m − x̂·dγ/m].</summary>
    public ReferenceGradients TrainingGradients(double[] x, double[] g, double[]? gamma, double eps)
    {
        var (mean, variance) = Moments(x);
        var (dGamma, dBeta) = ParameterGradients(x, g, mean, variance, eps);
        var dx = new double[x.Length];
        for (var i = 0; i < x.Length; i++)
        {
            var s = _statisticOf[i];
            var normalized = Normalized(x[i], mean[s], variance[s], eps);
            dx[i] = (gamma?[s] ?? 1) * InverseDeviation(variance[s], eps)
                * (g[i] - (dBeta[s] / Count) - (normalized * dGamma[s] / Count));
        }
        return new ReferenceGradients(dx, dGamma, dBeta);
    }

    /// <summary>dβ = Σg, dγ = Σg·(x − μ)·s, dx = γ·s·g: the statistics do not depend on x.</summary>
    public ReferenceGradients InferenceGradients(double[] x, double[] g, double[] mean, double[] variance, double[]? gamma, double eps)
    {
        var (dGamma, dBeta) = ParameterGradients(x, g, mean, variance, eps);
        var dx = new double[x.Length];
        for (var i = 0; i < x.Length; i++)
            dx[i] = (gamma?[_statisticOf[i]] ?? 1) * InverseDeviation(variance[_statisticOf[i]], eps) * g[i];
        return new ReferenceGradients(dx, dGamma, dBeta);
    }

    /// <summary>r ← (1 − α)·r + α·b, the variance with M2/(m − 1) or M2/m.</summary>
    public (double[] Mean, double[] Variance) Running(
        (double[] Mean, double[] Variance) running, (double[] Mean, double[] Variance) batch, double alpha, bool unbiased)
    {
        var correction = unbiased ? Count / (Count - 1.0) : 1;
        return (
            [.. running.Mean.Zip(batch.Mean, (r, b) => ((1 - alpha) * r) + (alpha * b))],
            [.. running.Variance.Zip(batch.Variance, (r, b) => ((1 - alpha) * r) + (alpha * b * correction))]);
    }

    private (double[] DGamma, double[] DBeta) ParameterGradients(double[] x, double[] g, double[] mean, double[] variance, double eps)
    {
        var dGamma = new double[Statistics];
        var dBeta = new double[Statistics];
        for (var i = 0; i < x.Length; i++)
        {
            var s = _statisticOf[i];
            dGamma[s] += g[i] * Normalized(x[i], mean[s], variance[s], eps);
            dBeta[s] += g[i];
        }
        return (dGamma, dBeta);
    }

    private double[] Average(Func<int, double> value)
    {
        var sum = new double[Statistics];
        for (var i = 0; i < _statisticOf.Length; i++) sum[_statisticOf[i]] += value(i);
        return Array.ConvertAll(sum, total => total / Count);
    }

    private static double InverseDeviation(double variance, double eps) => variance + eps == 0 ? 0 : 1 / Math.Sqrt(variance + eps);

    private static double Normalized(double x, double mean, double variance, double eps) => (x - mean) * InverseDeviation(variance, eps);

    private static int PositionInSample(int[] index, int[] dimensions)
    {
        var position = 0;
        for (var axis = 1; axis < index.Length; axis++) position = (position * dimensions[axis]) + index[axis];
        return position;
    }

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
