using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>γ, β and ε; null for 1 and 0.</summary>
internal readonly record struct Float64Parameters(double[]? Gamma, double[]? Beta, double Eps);

/// <summary>The forward pass in float64 through and through; for tensors of that type, on one thread.</summary>
internal static class Float64Forward
{
    /// <summary>
    /// Count, mean and M2 of every statistic: of values far from 0 the first one is taken away before they are summed, and the mean, with
    /// what rounding it leaves, before they are squared.
    /// </summary>
    public static Moments BatchMoments(Layout plan, ReadOnlySpan<double> x, ComputeSettings compute)
    {
        var (mean, residual) = plan.HasMean ? Mean(plan, x, compute) : (new double[plan.Statistics], new double[plan.Statistics]);
        var (sums, squares) = (new Float64Sums(plan.Statistics), new Float64Sums(plan.Statistics));
        Span<double> deviations = stackalloc double[Float64Block.Most], squared = stackalloc double[Float64Block.Most];
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            var part = x.Slice(block.Start, block.Length);
            for (var i = 0; i < part.Length; i++)
            {
                var statistic = block.StatisticOf(i);
                var deviation = part[i] - mean[statistic] - residual[statistic];
                (deviations[i], squared[i]) = (deviation, deviation * deviation);
            }
            squares.Add(block.Statistic, block.StatisticStep, squared[..part.Length]);
            if (plan.HasMean) sums.Add(block.Statistic, block.StatisticStep, deviations[..part.Length]);
        }
        var m2 = new double[plan.Statistics];
        // The deviations sum up to what rounding the mean has left: next to nothing.
        for (var i = 0; i < m2.Length; i++) m2[i] = squares[i] - (sums[i] * sums[i] / plan.Count);
        return new Moments(plan.Count, mean, residual, m2);
    }

    /// <summary>y = activation(γ·x̂ + β + residual).</summary>
    public static void Apply(
        Layout plan, ReadOnlySpan<double> x, Moments moments, Float64Parameters layer, bool isRectified, Span<double> y,
        ReadOnlySpan<double> residual, ComputeSettings compute)
    {
        var statistics = new Float64Statistics(moments, layer.Eps);
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
            Apply(block, x, statistics, layer, isRectified, residual, y.Slice(block.Start, block.Length));
    }

    /// <summary>y of one block.</summary>
    public static void Apply(
        Float64Block block, ReadOnlySpan<double> x, Float64Statistics statistics, Float64Parameters layer, bool isRectified,
        ReadOnlySpan<double> residual, Span<double> y)
    {
        for (var i = 0; i < block.Length; i++)
        {
            var (statistic, parameter) = (block.StatisticOf(i), block.ParameterOf(i));
            var (inverse, gamma) = (statistics.Inverse[statistic], layer.Gamma is null ? 1 : layer.Gamma[parameter]);
            var scale = inverse * gamma;
            var scaleLow = Math.FusedMultiplyAdd(inverse, gamma, -scale) + (statistics.InverseLow[statistic] * gamma);
            var offset = (layer.Beta is null ? 0 : layer.Beta[parameter]) - (statistics.CenterLow[statistic] * scale);
            var distance = x[block.Start + i] - statistics.Center[statistic];
            var value = Math.FusedMultiplyAdd(distance, scale, Math.FusedMultiplyAdd(distance, scaleLow, offset));
            // An infinite input has no lower part.
            if (!double.IsFinite(value)) value = Math.FusedMultiplyAdd(distance, scale, offset);
            if (!residual.IsEmpty) value += residual[block.Start + i];
            y[i] = isRectified ? Math.Max(value, 0) : value;
        }
    }

    private static (double[] Mean, double[] Residual) Mean(Layout plan, ReadOnlySpan<double> x, ComputeSettings compute)
    {
        var (first, sums) = (FirstValues(plan, x, compute), new Float64Sums(plan.Statistics));
        Span<double> distances = stackalloc double[Float64Block.Most], lost = stackalloc double[Float64Block.Most];
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            var part = x.Slice(block.Start, block.Length);
            for (var i = 0; i < part.Length; i++) (distances[i], lost[i]) = Float64Sums.Exact(part[i], -first[block.StatisticOf(i)]);
            sums.Add(block.Statistic, block.StatisticStep, distances[..part.Length]);
            sums.Add(block.Statistic, block.StatisticStep, lost[..part.Length]);
        }
        var (mean, residual) = (new double[plan.Statistics], new double[plan.Statistics]);
        for (var i = 0; i < mean.Length; i++) (mean[i], residual[i]) = sums.Average(i, plan.Count, first[i]);
        return (mean, residual);
    }

    private static double[] FirstValues(Layout plan, ReadOnlySpan<double> x, ComputeSettings compute)
    {
        var (first, isSet, left) = (new double[plan.Statistics], new bool[plan.Statistics], plan.Statistics);
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            for (var i = 0; i < (block.StatisticStep == 0 ? 1 : block.Length); i++)
            {
                var statistic = block.StatisticOf(i);
                if (isSet[statistic]) continue;
                // One that is not finite would hide how large the others are.
                if (double.IsFinite(x[block.Start + i])) first[statistic] = x[block.Start + i];
                isSet[statistic] = true;
                left--;
            }
            if (left == 0) break;
        }
        return first;
    }
}

/// <summary>The backward pass in float64 through and through; for tensors of that type, on one thread.</summary>
internal static class Float64Backward
{
    /// <summary>
    /// dx = s·[gγ − mean(gγ) − x̂·mean(gγ·x̂)] for every kind, the means over what shares a statistic; without the first one for RMS.
    /// </summary>
    public static ParameterGradients Training(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments batch, Float64Parameters layer, Span<double> dx,
        ComputeSettings compute)
    {
        var (gamma, statistics) = (layer.Gamma, new Float64Statistics(batch, layer.Eps));
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
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments running, Float64Parameters layer, Span<double> dx,
        ComputeSettings compute)
    {
        var sums = Sums(plan, x, dy, running, compute);
        var inverse = new Float64Statistics(running, layer.Eps).Inverse;
        PastStatistics(plan, dy, running, layer, dx, compute);
        return new([.. sums.SumDyXmu.Select((sum, c) => sum * inverse[c])], sums.SumDy);
    }

    /// <summary>dx = γ·s·g.</summary>
    public static void PastStatistics(
        Layout plan, ReadOnlySpan<double> dy, Moments batch, Float64Parameters layer, Span<double> dx, ComputeSettings compute)
    {
        var (gamma, inverse) = (layer.Gamma, new Float64Statistics(batch, layer.Eps).Inverse);
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            for (var i = 0; i < block.Length; i++)
                dx[block.Start + i] =
                    (gamma is null ? 1 : gamma[block.ParameterOf(i)]) * inverse[block.StatisticOf(i)] * dy[block.Start + i];
        }
    }

    /// <summary>dy where relu let the value pass, 0 where it did not (y ≤ 0).</summary>
    public static void ThroughRelu(
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments moments, Float64Parameters layer, Span<double> gated,
        ReadOnlySpan<double> residual, ComputeSettings compute)
    {
        var statistics = new Float64Statistics(moments, layer.Eps);
        Span<double> y = stackalloc double[Float64Block.Most];
        foreach (var block in Float64Block.Of(plan, compute.Cancellation))
        {
            Float64Forward.Apply(block, x, statistics, layer, isRectified: false, residual, y);
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
        Layout plan, ReadOnlySpan<double> x, ReadOnlySpan<double> dy, Moments joint, GradientSums total, Float64Parameters layer,
        Span<double> dx, ComputeSettings compute)
    {
        var (gamma, statistics) = (layer.Gamma, new Float64Statistics(joint, layer.Eps));
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
                dx[at] = statistics.Inverse[statistic]
                    * (g - (sumG[statistic] / statistics.Count) - (normalized * (sumGx[statistic] / statistics.Count)));
            }
        }
    }
}
