using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Core.Tensors;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Sessions;

/// <summary>Large states are stored one at a time and in turns, and leave time to small ones.</summary>
public sealed class LargeWritesTests
{
    private const long Large = LargeWrites.LargeBytes;

    private readonly ManualTime _time = new();
    private readonly LargeWrites _writes;
    private readonly List<string> _order = [];

    public LargeWritesTests() => _writes = new LargeWrites(new MemoryBudget(12 * Large), _time);

    [Fact]
    public async Task Keys_take_turns_however_many_wait_with_one()
    {
        var first = await _writes.EnterAsync("a", Large, default);
        var all = new[] { "a", "a", "a", "b", "c" }.Select(WriteAsync).ToList();
        Assert.Equal((5, 0), (_writes.Waiting, _order.Count));
        first.Dispose();
        await Task.WhenAll(all);
        Assert.Equal(["a", "b", "c", "a", "a"], _order);
        await WriteAsync("a");
    }

    [Fact]
    public async Task Small_ones_pass_and_have_two_thirds_of_the_time()
    {
        var first = await _writes.EnterAsync("a", Large, default);
        (await _writes.EnterAsync("b", Large - 1, default)).Dispose();
        _time.AdvanceBy(TimeSpan.FromMilliseconds(300));
        first.Dispose();
        var next = WriteAsync("a");
        _time.AdvanceBy(TimeSpan.FromMilliseconds(599));
        await Task.Delay(20);
        Assert.False(next.IsCompleted);
        _time.AdvanceBy(TimeSpan.FromMilliseconds(1));
        await next;
    }

    [Fact]
    public async Task Who_no_longer_waits_is_passed_over()
    {
        using var ended = new CancellationTokenSource();
        var first = await _writes.EnterAsync("a", Large, default);
        var gone = _writes.EnterAsync("b", Large, ended.Token).AsTask();
        var stays = WriteAsync("c");
        await ended.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => gone);
        first.Dispose();
        await stays;
        Assert.Equal(0, _writes.Waiting);
    }

    [Fact]
    public async Task What_waits_is_bounded_in_bytes_and_one_may_always_wait()
    {
        var first = await _writes.EnterAsync("a", Large, default);
        var huge = _writes.EnterAsync("a", 100 * Large, default).AsTask();
        var refusal = await Assert.ThrowsAsync<ProblemException>(() => _writes.EnterAsync("b", Large, default).AsTask());
        Assert.Equal(ProblemCode.Overloaded, refusal.Code);
        first.Dispose();
        (await huge).Dispose();
        var all = Enumerable.Range(0, 6).Select(_ => WriteAsync("b")).ToList();
        await Task.WhenAll(all);
    }

    /// <summary>As it was, its time was over for good before it waited for its turn, which may be far.</summary>
    [Theory]
    [InlineData("POST", "/v1/sessions")]
    [InlineData("POST", "/v1/sessions/large/snapshots")]
    [InlineData("DELETE", "/v1/sessions/large")]
    public async Task Who_waits_for_a_turn_is_answered_within_the_time_of_a_request(string method, string path)
    {
        var writes = new LargeWrites(new MemoryBudget(1L << 30), TimeProvider.System);
        using var service = Service.Replacing(
            services => services.AddSingleton(writes), ("Limits:RequestTime", "00:00:01"), ("Sync:Timeout", "00:00:01"));
        (await service.Client.PostAsync("/v1/sessions", """{"name":"large","num_features":40000}""")).Expect(201);
        using (await writes.EnterAsync("another", Large, default))
        {
            var body = path == "/v1/sessions" ? new StringContent("""{"name":"other","num_features":40000}""", null, "application/json") : null;
            var call = service.Unchecked.SendAsync(new HttpMethod(method), path, body);
            (await call.WaitAsync(TimeSpan.FromSeconds(20))).ExpectProblem("overloaded", "Limits:RequestTime");
        }
        Assert.Equal(404, (await service.Client.GetAsync("/v1/sessions/other")).Status);
        (await service.Client.GetAsync("/v1/sessions/large")).Expect(200);
        Assert.Contains("\"snapshots\":[]", (await service.Client.GetAsync("/v1/sessions/large/snapshots")).Text, StringComparison.Ordinal);
    }

    private async Task WriteAsync(string key)
    {
        using var turn = await _writes.EnterAsync(key, Large, default);
        lock (_order) _order.Add(key);
    }
}
