using BnService.Api.Errors;

namespace BnService.Api.Tests.Problems;

public sealed class RetryAfterTests
{
    private readonly ManualTime _time = new();
    private readonly RetryAfter _retryAfter;

    public RetryAfterTests() => _retryAfter = new RetryAfter(_time);

    [Fact]
    public void The_first_refusal_asks_for_a_second() => Assert.Equal(1, _retryAfter.Seconds("memory"));

    [Fact]
    public void A_shortage_that_goes_on_asks_for_a_quarter_of_its_duration_and_30_seconds_at_most()
    {
        var asked = Enumerable.Range(0, 200).Select(_ => After(1)).ToList();
        Assert.Equal([1, 2, 5, 10, 30, 30], new[] { asked[6], asked[8], asked[20], asked[40], asked[120], asked[199] });
        Assert.Equal(asked.Order(), asked);
    }

    [Fact]
    public void A_shortage_is_over_when_no_request_has_been_refused_for_longer_than_clients_wait()
    {
        for (var i = 0; i < 41; i++) After(1);
        Assert.Equal(15, After(20));
        Assert.Equal(1, After(32));
    }

    [Fact]
    public void A_shortage_of_one_thing_says_nothing_of_another()
    {
        for (var i = 0; i < 41; i++) After(1);
        Assert.Equal(1, _retryAfter.Seconds("store"));
        Assert.Equal(10, _retryAfter.Seconds("memory"));
    }

    private int After(int seconds)
    {
        _time.AdvanceBy(TimeSpan.FromSeconds(seconds));
        return _retryAfter.Seconds("memory");
    }
}
