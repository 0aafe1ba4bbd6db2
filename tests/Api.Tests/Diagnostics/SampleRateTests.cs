using BnService.Api.Sessions;

namespace BnService.Api.Tests.Diagnostics;

public sealed class SampleRateTests
{
    private readonly ManualTime _time = new();

    [Fact]
    public void After_a_pause_some_are_taken_at_once_and_then_one_an_interval()
    {
        var rate = new SampleRate(TimeSpan.FromMilliseconds(20), atOnce: 3);
        Assert.Equal([true, true, true, false, false], Enumerable.Range(0, 5).Select(_ => rate.Takes(_time)));
        _time.JumpBy(TimeSpan.FromMilliseconds(19));
        Assert.False(rate.Takes(_time));
        _time.JumpBy(TimeSpan.FromMilliseconds(1));
        Assert.Equal([true, false], Enumerable.Range(0, 2).Select(_ => rate.Takes(_time)));
        // However long the pause was, no more at once than that.
        _time.JumpBy(TimeSpan.FromHours(1));
        Assert.Equal([true, true, true, false], Enumerable.Range(0, 4).Select(_ => rate.Takes(_time)));
    }
}
