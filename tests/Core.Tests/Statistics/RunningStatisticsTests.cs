using BnService.Core.Simd;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Statistics;

public sealed class RunningStatisticsTests
{
    [Theory]
    [InlineData(0.1, true)]
    [InlineData(0.1, false)]
    [InlineData(0.0, true)]
    [InlineData(1.0, false)]
    [InlineData(null, true)]
    [InlineData(null, false)]
    public void Batches_move_the_running_statistics_as_the_reference_does(double? momentum, bool unbiased)
    {
        var running = RunningStatistics.Initial(3);
        var expected = (Mean: new double[] { 0, 0, 0 }, Variance: new double[] { 1, 1, 1 });
        for (var t = 1; t <= 12; t++)
        {
            var batch = new BatchCase(new BatchLayout([4, 3, t]), t, (s, random) => (float)(s + (t * random.NextGaussian())));
            running = running.Advance(Forward.BatchMoments(batch.Plan, batch.X, new(VectorWidths.Widest, 1)), momentum, unbiased);
            expected = batch.Reference.Running(expected, batch.Reference.Moments(BatchCase.Widened(batch.X)), momentum ?? 1.0 / t, unbiased);
            Assert.Equal(t, running.BatchesTracked);
            Assert.False(running.IsInitial);
            for (var s = 0; s < 3; s++)
            {
                Assert.Equal(expected.Mean[s], running.Mean[s], 1e-12 * t);
                Assert.Equal(expected.Variance[s], running.Variance[s], 1e-12 * t * t);
            }
        }
    }

    [Fact]
    public void Two_batches_by_hand()
    {
        var first = new Moments(4, [2], [0], [12]);
        var second = new Moments(2, [-1], [0], [4]);
        var unbiased = RunningStatistics.Initial(1).Advance(first, 0.1, unbiased: true).Advance(second, 0.1, unbiased: true);
        Assert.Equal(0.08, unbiased.Mean[0], 1e-15); // 0.9·0.2 − 0.1
        Assert.Equal(1.57, unbiased.Variance[0], 1e-15); // 0.9·(0.9 + 0.4) + 0.4
        var cumulative = RunningStatistics.Initial(1).Advance(first, null, unbiased: false).Advance(second, null, unbiased: false);
        Assert.Equal(0.5, cumulative.Mean[0], 1e-15); // (2 − 1)/2; the initial 0 has no part in it
        Assert.Equal(2.5, cumulative.Variance[0], 1e-15); // (3 + 2)/2
    }

    [Fact]
    public void A_single_value_has_a_variance_of_zero_rather_than_none()
    {
        var running = RunningStatistics.Initial(1).Advance(new Moments(1, [5], [0], [0]), 0.1, unbiased: true);
        Assert.Equal(0.9, running.Variance[0]);
    }

    [Fact]
    public void The_largest_count_of_batches_stays_the_largest()
    {
        var running = new RunningStatistics([0], [1], long.MaxValue, isInitial: false);
        foreach (var momentum in new double?[] { 0.1, null })
        {
            var next = running.Advance(new Moments(4, [1], [0], [4]), momentum, unbiased: false);
            Assert.Equal(long.MaxValue, next.BatchesTracked);
            Assert.Equal(momentum ?? 0, next.Mean[0], 1e-15);
        }
    }

    [Fact]
    public void Poison_stays()
    {
        var running = RunningStatistics.Initial(2).Advance(new Moments(4, [double.NaN, 1], [0, 0], [double.NaN, 4]), 0.1, unbiased: false);
        Assert.Equal([double.NaN, 0.1], running.Mean);
        Assert.Equal([double.NaN, 1], running.Variance);
    }

    [Fact]
    public void Drift_is_the_divergence_of_two_gaussians_where_it_is_largest()
    {
        var running = new RunningStatistics([0, 10, 0], [1, 4, 1], 5, isInitial: false);
        var drift = Drift.Of(8, [0, 12, 0], [1, 8, 1], running)!;
        // ½[ln(4/8) + (8 + 2²)/4 − 1] = ½[2 − ln 2]
        var divergence = 0.5 * (2 - Math.Log(2));
        Assert.Equal(1, drift.Channel);
        Assert.Equal(divergence, drift.Divergence, 1e-15);
        Assert.Equal(3 * Math.Exp(-8 * divergence), drift.PValue, 1e-15);
    }

    [Fact]
    public void Drift_is_found_in_whichever_channel_it_is_largest()
    {
        var random = new Random(5);
        for (var round = 0; round < 2000; round++)
        {
            var channels = random.Next(1, 20);
            double[] Values(double scale) => [.. Enumerable.Range(0, channels).Select(_ => Math.Exp(scale * (random.NextDouble() - 0.5)))];
            var spread = Math.Pow(10, random.Next(-6, 2));
            var (mean, variance, running) = (Values(spread), Values(spread), new RunningStatistics(Values(spread), Values(spread), 5, isInitial: false));
            var divergences = Enumerable.Range(0, channels).Select(c => Drift.DivergenceOf(mean[c], variance[c], running, c)).ToList();
            var drift = Drift.Of(8, mean, variance, running)!;
            Assert.Equal((divergences.IndexOf(divergences.Max()), divergences.Max()), (drift.Channel, drift.Divergence));
        }
    }

    [Fact]
    public void Without_drift_the_probability_is_one_and_without_a_number_there_is_none()
    {
        var running = new RunningStatistics([1, 2], [1, 2], 5, isInitial: false);
        var same = Drift.Of(100, [1, 2], [1, 2], running)!;
        Assert.Equal((0.0, 1.0), (same.Divergence, same.PValue));
        Assert.Null(Drift.Of(100, [double.NaN, 1], [1, 0], running));
        Assert.Null(Drift.Of(100, [1, 2], [1, 2], new RunningStatistics([1, 2], [0, 0], 5, isInitial: false)));
        // A channel without a number does not hide the others.
        Assert.Equal(1, Drift.Of(100, [double.NaN, 3], [1, 2], running)!.Channel);
    }

    [Fact]
    public void A_moving_average_settles_and_a_cumulative_one_does_at_once()
    {
        var young = Convergence.Of(0.1, 43);
        Assert.Equal(Math.Pow(0.9, 43), young.InitialWeight, 1e-15);
        Assert.Equal(19, young.EffectiveBatches, 1e-12);
        Assert.False(young.IsSettled);
        Assert.True(Convergence.Of(0.1, 44).IsSettled); // 0.9^44 = 0.0097
        Assert.Equal(new Convergence(1, 0), Convergence.Of(null, 0));
        Assert.Equal(new Convergence(0, 6), Convergence.Of(null, 6));
        Assert.Equal(new Convergence(1, 0), Convergence.Of(0, 6));
        // The smallest weight of all still has a number of batches.
        Assert.Equal(new Convergence(1, double.MaxValue), Convergence.Of(double.Epsilon, 6));
    }
}
