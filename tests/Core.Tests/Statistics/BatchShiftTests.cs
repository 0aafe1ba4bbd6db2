using BnService.Core.Statistics;

namespace BnService.Core.Tests.Statistics;

/// <summary>Where a batch lies against the running statistics.</summary>
public sealed class BatchShiftTests
{
    [Fact]
    public void Shifts_are_in_running_standard_deviations_and_variances_are_compared_by_their_ratio()
    {
        var running = new RunningStatistics([1, 2, 3], [4, 1, 9], 5, isInitial: false);
        var shift = BatchShift.Of([5, 2, 0], [4, 3, 9], running)!;
        // 2, 0 and -1 standard deviations.
        Assert.Equal(Math.Sqrt(5.0 / 3), shift.Rms, 1e-12);
        Assert.Equal(new Largest(0, 2), shift.Largest);
        Assert.Equal((1 + 3 + 1) / 3.0, shift.VarianceRatio, 1e-12);
    }

    [Fact]
    public void Channels_that_cannot_be_compared_are_left_out()
    {
        var running = new RunningStatistics([0, 0, 0], [0, 1, double.NaN], 5, isInitial: false);
        var shift = BatchShift.Of([1, -3, 1], [1, 1, 1], running)!;
        Assert.Equal((3, new Largest(1, 3), 1), (shift.Rms, shift.Largest, shift.VarianceRatio));
        Assert.Null(BatchShift.Of([1], [1], new RunningStatistics([0], [0], 5, isInitial: false)));
    }
}
