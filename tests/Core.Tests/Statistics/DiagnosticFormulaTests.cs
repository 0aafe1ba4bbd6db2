using BnService.Core.Statistics;

namespace BnService.Core.Tests.Statistics;

/// <summary>The formulas behind diagnostics, by hand.</summary>
public sealed class DiagnosticFormulaTests
{
    [Fact]
    public void The_noise_of_a_batch()
    {
        Assert.Equal(Math.Sqrt(2) / 2, BatchNoise.OfVariance(2), 1e-15);
        Assert.Equal(Math.Sqrt(14) / 8, BatchNoise.OfVariance(8), 1e-15);
        Assert.Equal(0.75, BatchNoise.OfMean(9, 16), 1e-15);
        Assert.Equal(0, BatchNoise.OfMean(0, 16));
    }

    [Theory]
    [InlineData(0.1, 0.22941573387056174)] // √(0.1/1.9)
    [InlineData(1.0, 1)]
    [InlineData(0.5, 0.5773502691896258)]
    [InlineData(0.0, 0)]
    public void The_noise_of_a_moving_average(double momentum, double expected) =>
        Assert.Equal(expected, Convergence.Of(momentum, 5).RelativeNoise, 1e-15);

    [Fact]
    public void The_noise_of_the_average_over_all_batches_falls_with_their_number() =>
        Assert.Equal(0.25, Convergence.Of(null, 16).RelativeNoise, 1e-15);

    [Theory]
    [InlineData(0.1, 44)]
    [InlineData(0.5, 7)]
    [InlineData(1.0, 1)]
    [InlineData(null, 1)]
    [InlineData(0.0, null)]
    [InlineData(1e-300, null)]
    public void The_number_of_batches_to_settle_is_the_first_that_suffices(double? momentum, int? expected)
    {
        Assert.Equal(expected, Convergence.BatchesToSettle(momentum, isDebiased: false));
        if (expected is not { } batches) return;
        Assert.True(Convergence.Of(momentum, batches).IsSettled);
        Assert.False(Convergence.Of(momentum, batches - 1).IsSettled);
    }

    [Fact]
    public void Statistics_that_were_given_hold_nothing_of_the_initial_values()
    {
        var given = new RunningStatistics([1], [2], 3, isInitial: false) { AreGiven = true };
        Assert.Equal((0, true), (Convergence.Of(0.1, given).InitialWeight, Convergence.Of(0.1, given).IsSettled));
        Assert.Equal(19, Convergence.Of(0.1, given).EffectiveBatches, 1e-12);
        Assert.Equal(0.729, Convergence.Of(0.1, new RunningStatistics([1], [2], 3, isInitial: false)).InitialWeight, 1e-15);
    }

    [Fact]
    public void The_gap_to_the_union_is_the_largest_of_all_channels()
    {
        var running = new RunningStatistics([1, 5, 7], [4, 9, 3], 2, isInitial: false);
        // Variances 16/4 = 4, 36/4 = 9 and 0: unbiased of 5 values.
        var seen = new Moments(5, [2, 5, 8], [0, 0, 0], [16, 36, 0]);
        var gap = EstimateGap.Of(running, seen, unbiased: true);
        Assert.Equal((new Largest(0, 0.5), 5), (gap.Mean, gap.Count)); // |1 − 2|/2; the constant channel has no scale
        Assert.Equal(new Largest(0, 0), gap.Variance);
        // Biased: 3.2 and 7.2; 0.8/3.2 and 1.8/7.2.
        Assert.Equal(0.25, EstimateGap.Of(running, seen, unbiased: false).Variance!.Value, 1e-15);
        Assert.Null(EstimateGap.Of(new RunningStatistics([1], [1], 1, isInitial: false), new Moments(3, [1], [0], [0]), unbiased: true).Mean);
    }

    [Fact]
    public void The_largest_is_of_the_finite_ones()
    {
        double[] values = [1, double.NaN, 7, double.PositiveInfinity, 7];
        Assert.Equal(new Largest(2, 7), Largest.Of(values.Length, c => values[c]));
        Assert.Null(Largest.Of(1, _ => double.NaN));
        Assert.Null(Largest.Of(0, _ => 1));
    }

    [Fact]
    public void Drift_by_hand()
    {
        // Mean one standard deviation off, variance as it is: KL = ½; the other channel: variance four times as large, KL = ½(3 − ln 4).
        var running = new RunningStatistics([0, 0], [4, 1], 9, isInitial: false);
        Assert.Equal(0.5, Drift.DivergenceOf(2, 4, running, 0), 1e-15);
        Assert.Equal(0.5 * (3 - Math.Log(4)), Drift.DivergenceOf(0, 4, running, 1), 1e-15);
        var drift = Drift.Of(10, [2, 0], [4, 4], running)!;
        Assert.Equal(1, drift.Channel);
        Assert.Equal(2 * Math.Exp(-5 * (3 - Math.Log(4))), drift.PValue, 1e-15);
    }
}
