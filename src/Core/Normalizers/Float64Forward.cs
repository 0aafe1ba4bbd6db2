using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>The forward pass in float64 through and through; what <see cref="Forward"/> does for tensors of that type, on one thread.</summary>
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
        Layout plan, ReadOnlySpan<double> x, Moments moments, LayerParameters layer, Span<double> y, ComputeSettings compute,
        ReadOnlySpan<double> residual)
    {
        var statistics = new Float64Statistics(moments, layer.Eps);
        foreach (var block in Float64Block.Of(plan, compute.Cancellation)) Apply(block, x, statistics, layer, residual, y.Slice(block.Start, block.Length));
    }

    /// <summary>y of one block.</summary>
    public static void Apply(
        Float64Block block, ReadOnlySpan<double> x, Float64Statistics statistics, LayerParameters layer, ReadOnlySpan<double> residual, Span<double> y)
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
            y[i] = layer.Activation == Activation.Relu ? Math.Max(value, 0) : value;
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
