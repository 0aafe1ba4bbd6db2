namespace BnService.Harness;

/// <summary>A forward pass: y, and for each of its elements the largest of |y|, |γx̂| and |β|, to which its error is relative.</summary>
public sealed record ReferenceOutput(double[] Y, double[] Scale);

/// <summary>A backward pass.</summary>
public sealed record ReferenceGradients(double[] Dx, double[] Dgamma, double[] Dbeta);

/// <summary>The statistics of a batch.</summary>
public sealed record ReferenceStatistics(double[] Mean, double[] Variance, int Count)
{
    /// <summary>M2/(m − 1).</summary>
    public double[] Unbiased => Array.ConvertAll(Variance, variance => variance * Count / (Count - 1));
}

/// <summary>
/// Batch normalization written down from its definition, in double and one element after the other; it shares nothing with the service.
/// </summary>
/// <param name="statistics">Number of statistics.</param>
public sealed class ReferenceLayer(int statistics)
{
    public double Eps { get; init; } = 1e-5;

    public double? Momentum { get; init; } = 0.1;

    public bool UnbiasedRunningVar { get; init; } = true;

    public bool ChannelsLast { get; init; }

    public bool PerActivation { get; init; }

    public bool Relu { get; init; }

    public double[] Gamma { get; set; } = Filled(statistics, 1);

    public double[] Beta { get; set; } = new double[statistics];

    public ReferenceStatistics Running { get; set; } = new(new double[statistics], Filled(statistics, 1), 0);

    public int BatchesTracked { get; set; }

    /// <summary>Mean and biased variance of each statistic.</summary>
    public ReferenceStatistics StatisticsOf(Batch x)
    {
        var count = x.Data.Length / statistics;
        var mean = Sums(x, (value, _) => value).Select(sum => sum / count).ToArray();
        var variance = Sums(x, (value, c) => (value - mean[c]) * (value - mean[c])).Select(sum => sum / count).ToArray();
        return new ReferenceStatistics(mean, variance, count);
    }

    /// <summary>A train-step: the output, and the running statistics moved.</summary>
    public ReferenceOutput Train(Batch x)
    {
        var batch = StatisticsOf(x);
        var alpha = Momentum ?? 1.0 / (BatchesTracked + 1);
        var variance = UnbiasedRunningVar ? batch.Unbiased : batch.Variance;
        Running = new ReferenceStatistics(
            [.. Running.Mean.Zip(batch.Mean, (r, b) => ((1 - alpha) * r) + (alpha * b))],
            [.. Running.Variance.Zip(variance, (r, b) => ((1 - alpha) * r) + (alpha * b))], 0);
        BatchesTracked++;
        return Output(x, batch);
    }

    /// <summary>The output with the running statistics.</summary>
    public ReferenceOutput Infer(Batch x) => Output(x, Running);

    /// <summary>The output with given statistics.</summary>
    public ReferenceOutput Output(Batch x, ReferenceStatistics with)
    {
        var output = new ReferenceOutput(new double[x.Data.Length], new double[x.Data.Length]);
        for (var i = 0; i < x.Data.Length; i++)
        {
            var c = StatisticOf(x, i);
            var scaled = Gamma[c] * Normalized(x, i, with);
            var y = scaled + Beta[c];
            output.Y[i] = Relu ? Math.Max(y, 0) : y;
            output.Scale[i] = Math.Max(Math.Abs(y), Math.Max(Math.Abs(scaled), Math.Abs(Beta[c])));
        }
        return output;
    }

    /// <summary>Gradients through the batch's own statistics.</summary>
    public ReferenceGradients BackwardThroughBatch(Batch x, Batch dy)
    {
        var batch = StatisticsOf(x);
        var g = Gated(x, dy, batch);
        var (dgamma, dbeta) = ParameterGradients(x, g, batch);
        var dx = new double[g.Length];
        for (var i = 0; i < dx.Length; i++)
        {
            var c = StatisticOf(x, i);
            dx[i] = Gamma[c] * Scale(batch, c) * (g[i] - (dbeta[c] / batch.Count) - (Normalized(x, i, batch) * dgamma[c] / batch.Count));
        }
        return new ReferenceGradients(dx, dgamma, dbeta);
    }

    /// <summary>Gradients through the running statistics, which are constants.</summary>
    public ReferenceGradients BackwardThroughRunning(Batch x, Batch dy)
    {
        var g = Gated(x, dy, Running);
        var (dgamma, dbeta) = ParameterGradients(x, g, Running);
        var dx = g.Select((value, i) => Gamma[StatisticOf(x, i)] * Scale(Running, StatisticOf(x, i)) * value);
        return new ReferenceGradients([.. dx], dgamma, dbeta);
    }

    private double[] Gated(Batch x, Batch dy, ReferenceStatistics with)
    {
        var y = Output(x, with).Y;
        return [.. dy.Data.Select((value, i) => Relu && y[i] <= 0 ? 0 : (double)value)];
    }

    private (double[] Dgamma, double[] Dbeta) ParameterGradients(Batch x, double[] g, ReferenceStatistics with)
    {
        var (dgamma, dbeta) = (new double[statistics], new double[statistics]);
        for (var i = 0; i < g.Length; i++)
        {
            var c = StatisticOf(x, i);
            dgamma[c] += g[i] * Normalized(x, i, with);
            dbeta[c] += g[i];
        }
        return (dgamma, dbeta);
    }

    private double Normalized(Batch x, int i, ReferenceStatistics with)
    {
        var c = StatisticOf(x, i);
        return (x.Data[i] - with.Mean[c]) * Scale(with, c);
    }

    private double Scale(ReferenceStatistics with, int c) => with.Variance[c] + Eps == 0 ? 0 : 1 / Math.Sqrt(with.Variance[c] + Eps);

    // Which statistic an element belongs to: its position in the sample, or its channel along axis 1 or the last one.
    private int StatisticOf(Batch x, int i)
    {
        if (PerActivation) return i % statistics;
        if (ChannelsLast) return i % x.Shape[^1];
        var inner = x.Shape.Skip(2).Aggregate(1, (product, dimension) => product * dimension);
        return i / inner % x.Shape[1];
    }

    // Compensated (Neumaier), so that the reference's own rounding does not show.
    private double[] Sums(Batch x, Func<double, int, double> term)
    {
        var (sums, lost) = (new double[statistics], new double[statistics]);
        for (var i = 0; i < x.Data.Length; i++)
        {
            var c = StatisticOf(x, i);
            var value = term(x.Data[i], c);
            var sum = sums[c] + value;
            lost[c] += Math.Abs(sums[c]) >= Math.Abs(value) ? sums[c] - sum + value : value - sum + sums[c];
            sums[c] = sum;
        }
        return [.. sums.Zip(lost, (sum, rest) => sum + rest)];
    }

    private static double[] Filled(int length, double value)
    {
        var values = new double[length];
        Array.Fill(values, value);
        return values;
    }
}
