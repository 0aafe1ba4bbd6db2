using System.Numerics;
using BnService.Core.Statistics;

namespace BnService.Core.Tests.Statistics;

public sealed class MomentsTests
{
    [Fact]
    public void Variances_divide_by_the_count_or_by_one_less()
    {
        var moments = new Moments(5, [1, 2], [0, 0], [20, 8]);
        Assert.Equal([4, 1.6], moments.Variance(unbiased: false));
        Assert.Equal([5, 2], moments.Variance(unbiased: true));
        Assert.Equal([0], new Moments(1, [3], [0], [0]).Variance(unbiased: true));
        Assert.Equal([0], Moments.Empty(1).Variance(unbiased: false));
    }

    [Fact]
    public void Merging_by_hand()
    {
        // 1, 3 and 5, 7, 9: mean 5, squared deviations 16 + 4 + 0 + 4 + 16.
        var merged = Moments.Merge(new Moments(2, [2], [0], [2]), new Moments(3, [7], [0], [8]));
        Assert.Equal(5, merged.Count);
        Assert.Equal([5], merged.Mean);
        Assert.Equal(40, merged.M2[0], 1e-14);
    }

    [Fact]
    public void An_empty_side_is_skipped()
    {
        var moments = new Moments(2, [2], [1e-20], [2]);
        Assert.Same(moments, Moments.Merge(moments, Moments.Empty(1)));
        Assert.Same(moments, Moments.Merge(Moments.Empty(1), moments));
        Assert.Equal(0, Moments.Merge(Moments.Empty(1), Moments.Empty(1)).Count);
    }

    [Fact]
    public void Merging_keeps_what_rounding_the_mean_left_over()
    {
        // The mean of 1 and of 1 + 2⁻⁵² · 4 lies between two doubles' halves: 1 + 2⁻⁵² · 4/3 for one and two values of them.
        var upper = 1 + Math.ScaleB(4, -52);
        var merged = Moments.Merge(new Moments(2, [1], [0], [0]), new Moments(1, [upper], [0], [0]));
        Assert.Equal(1 + Math.ScaleB(1, -52), merged.Mean[0]);
        Assert.Equal(Math.ScaleB(1.0 / 3, -52), merged.MeanResidual[0], 1e-25);
    }

    /// <summary>A value that lies as near the mean as double resolves has an output of just what the mean is off by.</summary>
    [Fact]
    public void A_mean_merged_of_many_parts_has_the_digits_of_two_doubles()
    {
        var random = new Random(3);
        var (merged, sum, count) = (Moments.Empty(1), BigInteger.Zero, 0L);
        for (var part = 0; part < 50; part++)
        {
            var (value, values) = (random.Next(-1000, 1000), random.Next(1, 100));
            merged = Moments.Merge(merged, new Moments(values, [value], [0], [0]));
            (sum, count) = (sum + ((BigInteger)value * values), count + values);
            var off = ((BigInteger.One << 200) * sum / count) - Scaled(merged.Mean[0]) - Scaled(merged.MeanResidual[0]);
            Assert.InRange((double)off, -Math.ScaleB(1000, 200 - 100), Math.ScaleB(1000, 200 - 100));
            Assert.Equal(merged.Mean[0], merged.Mean[0] + merged.MeanResidual[0]);
        }

        static BigInteger Scaled(double value) => (BigInteger)Math.ScaleB(value, 200);
    }

    [Fact]
    public void Different_numbers_of_channels_do_not_merge() =>
        Assert.Throws<ArgumentException>("b", () => Moments.Merge(Moments.Empty(2), Moments.Empty(3)));

    [Fact]
    public void Poison_survives_a_merge()
    {
        var poisoned = new Moments(2, [double.PositiveInfinity, 0], [0, 0], [double.NaN, 1]);
        var merged = Moments.Merge(poisoned, new Moments(3, [1, 1], [0, 0], [1, 1]));
        Assert.False(merged.IsFinite);
        Assert.False(double.IsFinite(merged.Mean[0]));
        Assert.Equal(double.NaN, merged.M2[0]);
        Assert.Equal(0.6, merged.Mean[1], 1e-15);
        Assert.False(Moments.Merge(new Moments(3, [1, 1], [0, 0], [1, 1]), poisoned).IsFinite);
    }

    [Theory]
    [InlineData(double.PositiveInfinity, 1, double.PositiveInfinity)]
    [InlineData(double.NegativeInfinity, 1, double.NegativeInfinity)]
    [InlineData(double.PositiveInfinity, double.PositiveInfinity, double.PositiveInfinity)]
    [InlineData(double.PositiveInfinity, double.NegativeInfinity, double.NaN)]
    [InlineData(double.NaN, 1, double.NaN)]
    [InlineData(1e308, -1e308, 0)]
    [InlineData(1.5e308, 1.5e308, 1.5e308)]
    public void An_infinite_mean_stays_what_it_is(double a, double b, double expected)
    {
        var (left, right) = (new Moments(2, [a], [0], [0]), new Moments(2, [b], [0], [0]));
        foreach (var merged in (Moments[])[Moments.Merge(left, right), Moments.Merge(right, left)])
        {
            Assert.Equal(expected, merged.Mean[0]);
            Assert.Equal(0, merged.MeanResidual[0]);
            Assert.Equal(a == b && double.IsFinite(a), double.IsFinite(merged.M2[0]));
        }
    }

    /// <summary>Integers around 2⁴⁰, whose squares no double holds: the sums of their offsets are exact, in any order and any cut.</summary>
    [Fact]
    public void Ragged_parts_in_any_order_make_the_whole()
    {
        const double Base = 1L << 40;
        var random = new Random(5);
        var offsets = Enumerable.Range(0, 500).Select(_ => random.Next(-50, 50)).ToArray();
        var whole = MomentsOf(offsets);
        for (var round = 0; round < 20; round++)
        {
            var merged = Moments.Empty(1);
            for (var from = 0; from < offsets.Length;)
            {
                var part = offsets[from..Math.Min(offsets.Length, from + random.Next(1, 60))];
                from += part.Length;
                merged = random.Next(2) == 0 ? Moments.Merge(merged, MomentsOf(part)) : Moments.Merge(MomentsOf(part), merged);
            }
            Assert.Equal(offsets.Length, merged.Count);
            Assert.Equal(whole.Mean, merged.Mean);
            Assert.Equal(whole.MeanResidual[0], merged.MeanResidual[0], 1e-12);
            Assert.InRange(merged.M2[0] / whole.M2[0], 1 - 1e-12, 1 + 1e-12);
            random.Shuffle(offsets);
        }

        static Moments MomentsOf(int[] offsets)
        {
            var (sum, squares) = (offsets.Sum(), offsets.Sum(offset => offset * offset));
            var (mean, n) = (Base + ((double)sum / offsets.Length), offsets.Length);
            return new Moments(n, [mean], [((double)sum / n) - (mean - Base)], [squares - ((double)sum * sum / n)]);
        }
    }
}
