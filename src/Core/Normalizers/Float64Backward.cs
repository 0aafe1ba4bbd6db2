using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>The backward pass in float64 through and through; what <see cref="Backward"/> does for tensors of that type, on one thread.</summary>
internal static class Float64Backward
{
    /// <summary>dx = s·[gγ − mean(gγ) − x̂·mean(gγ·x̂)] for every kind, the means over what shares a statistic; without the first one for RMS.</summary>
    public static ParameterGradients Training(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments batch, double[]? gamma, double eps, Span<double> dx,
        ComputeSettings compute)
    {
        var statistics = new Float64Statistics(batch, eps);
        var (sumG, sumGx) = (new Float64Sums(plan.Statistics), new Float64Sums(plan.Statistics));
        var (dGamma, dBeta) = (new Float64Sums(plan.Parameters), new Float64Sums(plan.Parameters));
        Span<double> g = stackalloc double[Float64Block.Most], gx = stackalloc double[Float64Block.Most];
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            for (var i = 0; i < block.Length; i++)
            {
                g[i] = dy[block.Start + i];
                gx[i] = g[i] * statistics.Normalized(x[block.Start + i], block.StatisticOf(i));
            }
            Span<double> ofG = g[..block.Length], ofGx = gx[..block.Length];
            dBeta.Add(block.Parameter, block.ParameterStep, ofG);
            dGamma.Add(block.Parameter, block.ParameterStep, ofGx);
            for (var i = 0; gamma is not null && i < block.Length; i++)
            {
                g[i] *= gamma[block.ParameterOf(i)];
                gx[i] *= gamma[block.ParameterOf(i)];
            }
            sumG.Add(block.Statistic, block.StatisticStep, ofG);
            sumGx.Add(block.Statistic, block.StatisticStep, ofGx);
        }
        Through(plan, x, dy, statistics, gamma, plan.HasMean ? sumG.ToArray() : new double[plan.Statistics], sumGx.ToArray(), dx, compute);
        return new(dGamma.ToArray(), dBeta.ToArray());
    }

    /// <summary>dx = γ·s·g, dγ = Σg·(x − μ)·s, dβ = Σg.</summary>
    public static ParameterGradients Inference(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments running, double[]? gamma, double eps, Span<double> dx,
        ComputeSettings compute)
    {
        var sums = Sums(plan, x, dy, running, compute);
        var inverse = new Float64Statistics(running, eps).Inverse;
        PastStatistics(plan, dy, running, gamma, eps, dx, compute);
        return new([.. sums.SumDyXmu.Select((sum, c) => sum * inverse[c])], sums.SumDy);
    }

    /// <summary>dx = γ·s·g.</summary>
    public static void PastStatistics(
        Layout plan, ReadOnlySpan<double> dy, Moments batch, double[]? gamma, double eps, Span<double> dx, ComputeSettings compute)
    {
        var inverse = new Float64Statistics(batch, eps).Inverse;
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            for (var i = 0; i < block.Length; i++)
                dx[block.Start + i] = (gamma is null ? 1 : gamma[block.ParameterOf(i)]) * inverse[block.StatisticOf(i)] * dy[block.Start + i];
        }
    }

    /// <summary>dy where relu let the value pass, 0 where it did not (y ≤ 0).</summary>
    public static void ThroughRelu(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments moments, LayerParameters layer, Span<double> gated,
        ComputeSettings compute, ReadOnlySpan<double> residual)
    {
        var (statistics, affine) = (new Float64Statistics(moments, layer.Eps), layer with { Activation = Activation.None });
        Span<double> y = stackalloc double[Float64Block.Most];
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            Float64Forward.Apply(block, x, statistics, affine, residual, y);
            for (var i = 0; i < block.Length; i++) gated[block.Start + i] = y[i] <= 0 ? 0 : dy[block.Start + i];
        }
    }

    /// <summary>Σg and Σg·(x − μ) of each statistic. For plans over channels.</summary>
    public static GradientSums Sums(Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments joint, ComputeSettings compute)
    {
        var (sumDy, sumDyXmu) = (new Float64Sums(plan.Statistics), new Float64Sums(plan.Statistics));
        Span<double> products = stackalloc double[Float64Block.Most];
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            for (var i = 0; i < block.Length; i++)
            {
                var statistic = block.StatisticOf(i);
                products[i] = dy[block.Start + i] * (x[block.Start + i] - joint.Mean[statistic] - joint.MeanResidual[statistic]);
            }
            sumDy.Add(block.Statistic, block.StatisticStep, dy.Slice(block.Start, block.Length));
            sumDyXmu.Add(block.Statistic, block.StatisticStep, products[..block.Length]);
        }
        return new(sumDy.ToArray(), sumDyXmu.ToArray());
    }

    /// <summary>dx of a part of a batch, from the sums of all parts. For plans over channels.</summary>
    public static void Joint(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments joint, GradientSums total, double[]? gamma, double eps,
        Span<double> dx, ComputeSettings compute)
    {
        var statistics = new Float64Statistics(joint, eps);
        var sumG = total.SumDy.Select((sum, c) => sum * (gamma?[c] ?? 1)).ToArray();
        var sumGx = total.SumDyXmu.Select((sum, c) => sum * statistics.Inverse[c] * (gamma?[c] ?? 1)).ToArray();
        Through(plan, x, dy, statistics, gamma, sumG, sumGx, dx, compute);
    }

    private static void Through(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Float64Statistics statistics, double[]? gamma, double[] sumG,
        double[] sumGx, Span<double> dx, ComputeSettings compute)
    {
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            for (var i = 0; i < block.Length; i++)
            {
                var (at, statistic) = (block.Start + i, block.StatisticOf(i));
                var g = dy[at] * (gamma is null ? 1 : gamma[block.ParameterOf(i)]);
                var normalized = statistics.Normalized(x[at], statistic);
                dx[at] = statistics.Inverse[statistic] * (g - (sumG[statistic] / statistics.Count) - (normalized * (sumGx[statistic] / statistics.Count)));
            }
        }
    }
}
