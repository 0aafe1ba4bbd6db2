namespace BnService.Harness;

/// <summary>
/// Any normalizer, written down from its definition in double: which statistic and which parameter each element belongs to is all that
/// tells one kind from another.
/// </summary>
/// <param name="Statistic">The statistic of each element.</param>
/// <param name="Parameter">The gamma and beta of each element.</param>
public sealed record ReferenceKind(int[] Statistic, int[] Parameter)
{
    public bool HasMean { get; init; } = true;

    public double Eps { get; init; } = 1e-5;

    public double[]? Gamma { get; init; }

    public double[]? Beta { get; init; }

    public bool Relu { get; init; }

    /// <summary>Which elements count in the statistics; null for all.</summary>
    public bool[]? Valid { get; init; }

    /// <summary>r and d of each statistic (batch renormalization); null for 1 and 0.</summary>
    public (double R, double D)[]? Correction { get; init; }

    /// <summary>The kind for a batch, by its name on the wire.</summary>
    public static ReferenceKind Of(string kind, int[] shape, int channels, int groups = 1, int axis = 1, int rowRank = 1)
    {
        var count = shape.Aggregate(1, (product, dimension) => product * dimension);
        var sample = count / shape[0];
        int Channel(int i) => axis == 1 ? i / (sample / channels) % channels : i % channels;
        var row = shape[^rowRank..].Aggregate(1, (product, dimension) => product * dimension);
        var all = Enumerable.Range(0, count);
        return kind switch
        {
            "layer_norm" or "rms_norm" => new([.. all.Select(i => i / row)], [.. all.Select(i => i % row)]) { HasMean = kind == "layer_norm" },
            "group_norm" => new([.. all.Select(i => (i / sample * groups) + (Channel(i) / (channels / groups)))], [.. all.Select(Channel)]),
            "instance_norm" => new([.. all.Select(i => (i / sample * channels) + Channel(i))], [.. all.Select(Channel)]),
            _ => new([.. all.Select(Channel)], [.. all.Select(Channel)]),
        };
    }

    /// <summary>The statistics of a batch.</summary>
    public ReferenceStatistics StatisticsOf(Batch x)
    {
        var statistics = Statistic.Max() + 1;
        var (count, mean, variance) = (new int[statistics], new double[statistics], new double[statistics]);
        ForEachValid(i => count[Statistic[i]]++);
        if (HasMean) ForEachValid(i => mean[Statistic[i]] += x.Data[i] / (double)count[Statistic[i]]);
        // Once more, so that what summing has lost is small beside the mean.
        var rest = new double[statistics];
        if (HasMean) ForEachValid(i => rest[Statistic[i]] += (x.Data[i] - mean[Statistic[i]]) / count[Statistic[i]]);
        for (var s = 0; s < statistics; s++) mean[s] += rest[s];
        ForEachValid(i => variance[Statistic[i]] += (x.Data[i] - mean[Statistic[i]]) * (x.Data[i] - mean[Statistic[i]]) / count[Statistic[i]]);
        return new(mean, variance, count[0]);
    }

    /// <summary>y, and what its tolerance is relative to.</summary>
    public ReferenceOutput Output(Batch x, Batch? residual = null)
    {
        var (normalized, y, scale) = (Normalized(x), new double[x.Data.Length], new double[x.Data.Length]);
        for (var i = 0; i < y.Length; i++)
        {
            var (gamma, beta, added) = (GammaOf(i), Beta?[Parameter[i]] ?? 0, residual?.Data[i] ?? 0);
            y[i] = (gamma * normalized[i]) + beta + added;
            // With a correction γ·x̂ is itself a sum, of γ·r times the plain value and γ·d.
            var corrected = Math.Abs(gamma * (Correction?[Statistic[i]].D ?? 0));
            double[] terms = [y[i], gamma * normalized[i], (Math.Abs(gamma * normalized[i]) + corrected), beta, added];
            scale[i] = terms.Max(Math.Abs);
            if (Relu) y[i] = Math.Max(y[i], 0);
        }
        return new(y, scale);
    }

    /// <summary>The gradients; dresidual beside them.</summary>
    public (ReferenceGradients Gradients, double[] Dresidual) Differentiate(Batch x, Batch dy, Batch? residual = null)
    {
        var (statistics, normalized, y) = (StatisticsOf(x), Normalized(x), Output(x, residual).Y);
        var (count, parameters) = (statistics.Mean.Length, Parameter.Max() + 1);
        double[] dx = new double[y.Length], dgamma = new double[parameters], dbeta = new double[parameters];
        var g = dy.Data.Select((value, i) => Relu && y[i] <= 0 ? 0.0 : value).ToArray();
        double[] sum = new double[count], sumNormalized = new double[count];
        for (var i = 0; i < g.Length; i++)
        {
            var s = Statistic[i];
            dgamma[Parameter[i]] += g[i] * normalized[i];
            dbeta[Parameter[i]] += g[i];
            sum[s] += g[i] * GammaOf(i);
            sumNormalized[s] += g[i] * GammaOf(i) * Plain(x, statistics, i);
        }
        for (var i = 0; i < g.Length; i++)
        {
            var s = Statistic[i];
            var through = Valid?[i] == false ? 0
                : ((HasMean ? sum[s] : 0) + (Plain(x, statistics, i) * sumNormalized[s])) / statistics.Count;
            dx[i] = (Correction?[s].R ?? 1) * ((g[i] * GammaOf(i)) - through) / Math.Sqrt(statistics.Variance[s] + Eps);
        }
        return (new(dx, dgamma, dbeta), g);
    }

    private double[] Normalized(Batch x)
    {
        var statistics = StatisticsOf(x);
        return [.. x.Data.Select((_, i) => (Plain(x, statistics, i) * (Correction?[Statistic[i]].R ?? 1)) + (Correction?[Statistic[i]].D ?? 0))];
    }

    private double Plain(Batch x, ReferenceStatistics statistics, int i) =>
        (x.Data[i] - statistics.Mean[Statistic[i]]) / Math.Sqrt(statistics.Variance[Statistic[i]] + Eps);

    private double GammaOf(int i) => Gamma?[Parameter[i]] ?? 1;

    private void ForEachValid(Action<int> visit)
    {
        for (var i = 0; i < Statistic.Length; i++)
        {
            if (Valid?[i] != false) visit(i);
        }
    }
}
