using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Tests;

public sealed class RenormalizationTests
{
    // By hand: r_max = 2t/35000 + 25/35 and d_max = 5t/20000 − 25/20, so that r opens from t = 5,000 to 40,000 and d from 5,000 to 25,000.
    [Theory]
    [InlineData(0, 1, 0)]
    [InlineData(4_999, 1, 0)]
    [InlineData(5_000, 1, 0)]
    [InlineData(8_500, 1.2, 0.875)]
    [InlineData(15_000, 55.0 / 35, 2.5)]
    [InlineData(22_500, 2, 4.375)]
    [InlineData(25_000, 75.0 / 35, 5)]
    [InlineData(40_000, 3, 5)]
    [InlineData(1_000_000, 3, 5)]
    public void The_limits_open_on_the_schedule_of_the_paper(long step, double rMax, double dMax)
    {
        var (r, d) = new RenormLimits().At(step);
        Assert.Equal(rMax, r, 12);
        Assert.Equal(dMax, d, 12);
    }

    [Theory]
    [InlineData(50, 85, 1.2, 0.875)]
    [InlineData(50, 49, 1, 0)]
    [InlineData(10_000, 17_000, 1.2, 0.875)]
    [InlineData(0, 0, 3, 5)]
    public void The_warm_up_scales_the_schedule(long warmup, long step, double rMax, double dMax)
    {
        var (r, d) = new RenormLimits(WarmupSteps: warmup).At(step);
        Assert.Equal(rMax, r, 12);
        Assert.Equal(dMax, d, 12);
    }

    [Fact]
    public void Smaller_limits_are_never_passed() => Assert.Equal((1.5, 0.25), new RenormLimits(1.5, 0.25).At(1_000_000));

    [Fact]
    public void Corrections_are_clipped_on_both_sides()
    {
        var batch = new Moments(4, [0, 9, -9, 1.5], new double[4], [4 * 4, 100 * 4, 0.01 * 4, 1 * 4]);
        var correction = Of(batch, new([0, 0, 0, 1], [1, 1, 1, 1], 0, false), new RenormLimits(3, 5, 0), eps: 0);
        Assert.Equal([2, 3, 1.0 / 3, 1], correction.R);
        Assert.Equal([0, 5, -5, 0.5], correction.D);
    }

    [Fact]
    public void Before_the_limits_open_it_is_plain_batch_normalization()
    {
        var correction = Of(new(4, [7, -7], new double[2], [9, 0]), new([0, 0], [1, 1], 4_999, false), null, eps: 1e-5);
        Assert.Equal([1, 1], correction.R);
        Assert.Equal([0, 0], correction.D);
        Assert.Equal([2, 3], correction.Gamma([2, 3]));
        Assert.Equal([-1, 5], correction.Beta([2, 3], [-1, 5]));
    }

    [Fact]
    public void The_limits_are_those_of_the_batches_tracked_before()
    {
        var batch = new Moments(4, [100], new double[1], [4e4]);
        var correction = Of(batch, new([0], [1], 8_500, false), new RenormLimits(), eps: 0);
        Assert.Equal(1.2, correction.R[0], 12);
        Assert.Equal(0.875, correction.D[0], 12);
    }

    [Fact]
    public void Without_any_deviation_a_constant_on_its_running_value_is_left_alone()
    {
        var correction = Of(new(4, [3, 4, 5], new double[3], [0, 0, 4]), new([3, 3, 5], [0, 0, 0], 9, false), new RenormLimits(3, 5, 0), eps: 0);
        Assert.Equal([1, 1, 3], correction.R);
        Assert.Equal([0, 5, 0], correction.D);
    }

    [Fact]
    public void Gradients_take_r_and_d_for_constants()
    {
        var gradients = new Renormalization([2, 0.5], [0, -3]).Gradients(new([10, 20], [1, 2]));
        Assert.Equal([20, 4], gradients.DGamma);
        Assert.Equal([1, 2], gradients.DBeta);
    }

    [Fact]
    public void Missing_parameters_are_one_and_zero()
    {
        var correction = new Renormalization([2, 0.5], [1, -3]);
        Assert.Equal([2, 0.5], correction.Gamma(null));
        Assert.Equal([1, -3], correction.Beta(null, null));
        Assert.Equal([5, 1], correction.Beta(null, [4, 4]));
    }

    private static Renormalization Of(Moments batch, RunningStatistics running, RenormLimits? limits, double eps) =>
        Renormalization.Of(batch, running, new() { Kind = NormalizerKind.BatchRenorm, NumFeatures = batch.Channels, Eps = eps, Renorm = limits });
}
