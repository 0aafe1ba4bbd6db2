using System.Runtime.CompilerServices;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Sums in twice the precision of a double (Knuth's two-sum): what each addition loses is summed beside it.</summary>
internal sealed class Float64Sums(int count)
{
    private readonly double[] _high = new double[count];
    private readonly double[] _low = new double[count];

    /// <summary>A sum, rounded to double. An infinite one stays what it is.</summary>
    public double this[int index] => double.IsFinite(_high[index]) ? _high[index] + _low[index] : _high[index];

    /// <summary>All sums, each rounded to double.</summary>
    public double[] ToArray() => [.. Enumerable.Range(0, count).Select(index => this[index])];

    /// <summary>Adds one term after the other.</summary>
    /// <param name="index">The sum of the first one.</param>
    /// <param name="step">1 where each term goes to a sum of its own, 0 where all go to one.</param>
    /// <param name="terms">The terms.</param>
    public void Add(int index, int step, ReadOnlySpan<double> terms)
    {
        if (step == 0)
        {
            var (high, low) = (_high[index], _low[index]);
            foreach (var term in terms) Add(ref high, ref low, term);
            (_high[index], _low[index]) = (high, low);
            return;
        }
        for (var i = 0; i < terms.Length; i++) Add(ref _high[index + i], ref _low[index + i], terms[i]);
    }

    /// <summary>A sum divided by a count and added to a value: rounded to double, and what rounding leaves.</summary>
    public (double Value, double Residual) Average(int index, long count, double added)
    {
        var quotient = this[index] / count;
        var left = (Math.FusedMultiplyAdd(-quotient, count, _high[index]) + _low[index]) / count;
        var (high, low) = (added, 0.0);
        Add(ref high, ref low, quotient);
        if (!double.IsFinite(high)) return (high, 0);
        low += left;
        var value = high + low;
        return (value, low - (value - high));
    }

    /// <summary>a + b as a double, and what that loses.</summary>
    public static (double Sum, double Lost) Exact(double a, double b)
    {
        var sum = a + b;
        var part = sum - a;
        return (sum, a - (sum - part) + (b - part));
    }

    private static void Add(ref double high, ref double low, double term)
    {
        (high, var lost) = Exact(high, term);
        low += lost;
    }
}

/// <summary>What normalizes float64 values, per statistic: x̂ = (x − center − centerLow)·(inverse + inverseLow).</summary>
internal sealed class Float64Statistics
{
    public Float64Statistics(Moments moments, double eps)
    {
        (Center, CenterLow, Count) = (moments.Mean, moments.MeanResidual, Math.Max(moments.Count, 1));
        (Inverse, InverseLow) = (new double[moments.Channels], new double[moments.Channels]);
        for (var i = 0; i < Inverse.Length; i++) (Inverse[i], InverseLow[i]) = InverseDeviation(moments.M2[i], Count, eps);
    }

    /// <summary>μ, rounded to double.</summary>
    public double[] Center { get; }

    /// <summary>What rounding μ leaves.</summary>
    public double[] CenterLow { get; }

    /// <summary>s = 1/√(σ² + ε), rounded to double; 0 where both are 0.</summary>
    public double[] Inverse { get; }

    /// <summary>What rounding s leaves.</summary>
    public double[] InverseLow { get; }

    /// <summary>m, the number of values per statistic.</summary>
    public long Count { get; }

    /// <summary>x̂ of a value.</summary>
    public double Normalized(double x, int statistic) => (x - Center[statistic] - CenterLow[statistic]) * Inverse[statistic];

    // The root's and the divisions' own roundings are taken back by one step of Newton's.
    private static (double Value, double Low) InverseDeviation(double m2, long count, double eps)
    {
        var variance = m2 / count;
        var (sum, left) = Float64Sums.Exact(variance, eps);
        if (sum == 0) return (0, 0);
        left += Math.FusedMultiplyAdd(-variance, count, m2) / count;
        var inverse = 1 / Math.Sqrt(sum);
        var square = inverse * inverse;
        var error = Math.FusedMultiplyAdd(-sum, square, 1) - (sum * Math.FusedMultiplyAdd(inverse, inverse, -square)) - (left * square);
        var (refined, low) = Float64Sums.Exact(inverse, inverse * error / 2);
        return double.IsFinite(refined) && double.IsFinite(low) ? (refined, low) : (inverse, 0);
    }
}

/// <summary>
/// Adjacent elements of a float64 tensor, and where their statistics, gamma and beta are: the same for all, or one after the other.
/// </summary>
/// <param name="Start">The first element.</param>
/// <param name="Length">How many.</param>
/// <param name="Statistic">The statistic of the first one.</param>
/// <param name="StatisticStep">1 where each element has a statistic of its own, else 0.</param>
/// <param name="Parameter">The gamma and beta of the first one.</param>
/// <param name="ParameterStep">1 where each element has a gamma and beta of its own, else 0.</param>
internal readonly record struct Float64Block(int Start, int Length, int Statistic, int StatisticStep, int Parameter, int ParameterStep)
{
    /// <summary>The most elements of a block.</summary>
    public const int Most = 512;

    /// <summary>The blocks of a tensor in memory order: every layout and kind in one form.</summary>
    public static IEnumerable<Float64Block> Of(Layout plan, CancellationToken cancellation)
    {
        for (var slice = 0; slice < plan.Slices; slice++)
        {
            cancellation.ThrowIfCancellationRequested();
            var (start, view) = plan.Slice(slice);
            // Channels are counted from the first one of the tensor, so that samples that lie in slices of their own have their own
            // statistics.
            var first = (long)slice * plan.View.Channels;
            var isColumns = view.IsColumns && plan.Reduction != Reduction.Rows;
            for (var outer = 0; outer < view.Outer; outer++)
            {
                for (int channel = 0, length; channel < view.Channels; channel += isColumns ? length : 1)
                {
                    var block = OfChannel(plan, first + channel);
                    length = isColumns ? Together(plan, block, view.Channels - channel) : view.Inner;
                    for (var done = 0; done < length; done += Most)
                    {
                        yield return block with
                        {
                            Start = start + done,
                            Length = Math.Min(Most, length - done),
                            Statistic = block.Statistic + (done * block.StatisticStep),
                            Parameter = block.Parameter + (done * block.ParameterStep),
                        };
                    }
                    start += length;
                }
            }
        }
    }

    /// <summary>The statistic of an element of the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int StatisticOf(int element) => Statistic + (element * StatisticStep);

    /// <summary>The gamma and beta of an element of the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int ParameterOf(int element) => Parameter + (element * ParameterStep);

    private static Float64Block OfChannel(Layout plan, long channel) => plan.Reduction == Reduction.Rows
        ? new(0, 0, (int)channel, 0, 0, 1)
        : new(0, 0, (int)(channel / plan.ChannelsPerStatistic), plan.View.IsColumns && plan.ChannelsPerStatistic == 1 ? 1 : 0,
            (int)(channel % plan.Parameters), plan.View.IsColumns && plan.Parameters > 1 ? 1 : 0);

    // Adjacent channels up to where a new group, or the first gamma, begins.
    private static int Together(Layout plan, Float64Block block, int channels)
    {
        if (plan.Parameters > 1) channels = Math.Min(channels, plan.Parameters - block.Parameter);
        return plan.ChannelsPerStatistic == 1 ? channels
            : Math.Min(channels, plan.ChannelsPerStatistic - (block.Parameter % plan.ChannelsPerStatistic));
    }
}
