using BnService.Api.Hosting.Problems;
using BnService.Api.Sessions;
using BnService.Api.Tests.Harness;
using BnService.Core.Tensors;

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

    private async Task WriteAsync(string key)
    {
        using var turn = await _writes.EnterAsync(key, Large, default);
        lock (_order) _order.Add(key);
    }
}
