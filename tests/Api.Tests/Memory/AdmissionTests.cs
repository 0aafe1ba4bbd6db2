using BnService.Api.Errors;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.Telemetry;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Memory;

public sealed class AdmissionTests
{
    private const long Megabyte = 1 << 20;
    private readonly ManualTime _time = new();
    private readonly MemoryBudget _budget = new(160 * Megabyte); // 150 for those that wait
    private readonly MemoryAdmission _admission;

    public AdmissionTests() => _admission = new MemoryAdmission(_budget, Options.Create(new MemoryOptions()), new WaitMeter(new ServiceMeter()), _time);

    [Fact]
    public async Task What_does_not_fit_waits_for_its_turn_and_a_small_one_does_not()
    {
        var (first, second, third, small) = (Account(), Account(), Account(), Account());
        await _admission.ReserveAsync(first, 100 * Megabyte, default);
        var large = _admission.ReserveAsync(second, 100 * Megabyte, default).AsTask();
        // It would fit, and must not pass.
        var behind = _admission.ReserveAsync(third, 10 * Megabyte, default).AsTask();
        await _admission.ReserveAsync(small, MemoryAdmission.SmallBytes, default);
        Assert.Equal(2, _admission.Waiting);
        Assert.False(large.IsCompleted || behind.IsCompleted);
        first.Dispose();
        await Task.WhenAll(large, behind);
        Assert.Equal((110 * Megabyte) + MemoryAdmission.SmallBytes, _budget.Used);
        foreach (var account in (MemoryAccount[])[second, third, small]) account.Dispose();
        Assert.Equal(0, _budget.Used);
        Assert.Equal((110 * Megabyte) + MemoryAdmission.SmallBytes, _budget.Peak);
    }

    [Fact]
    public async Task Waiting_ends_after_its_time_and_lets_the_next_one_pass()
    {
        using var holder = Account();
        await _admission.ReserveAsync(holder, 100 * Megabyte, default);
        var late = _admission.ReserveAsync(Account(), 100 * Megabyte, default).AsTask();
        _time.AdvanceBy(TimeSpan.FromSeconds(1.5));
        using var account = Account();
        var next = _admission.ReserveAsync(account, 50 * Megabyte, default).AsTask();
        _time.AdvanceBy(TimeSpan.FromSeconds(1));
        var refusal = await Assert.ThrowsAsync<ProblemException>(() => late);
        Assert.Equal(ProblemCode.Overloaded, refusal.Code);
        Assert.Contains("Memory:BudgetBytes", refusal.Message, StringComparison.Ordinal);
        await next;
        Assert.Equal(150 * Megabyte, _budget.Used);
    }

    [Fact]
    public async Task A_client_that_hangs_up_waits_no_more()
    {
        using var holder = Account();
        await _admission.ReserveAsync(holder, 100 * Megabyte, default);
        using var hangUp = new CancellationTokenSource();
        var waiting = _admission.ReserveAsync(Account(), 100 * Megabyte, hangUp.Token).AsTask();
        await hangUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        Assert.Equal(0, _admission.Waiting);
    }

    [Fact]
    public async Task What_never_fits_is_refused_at_once()
    {
        var refusal = await Assert.ThrowsAsync<ProblemException>(() => _admission.ReserveAsync(Account(), 151 * Megabyte, default).AsTask());
        Assert.Equal(ProblemCode.Overloaded, refusal.Code);
    }

    [Fact]
    public async Task What_is_retained_makes_room_before_anybody_waits()
    {
        var kept = new Queue<MemoryAccount>();
        for (var i = 0; i < 3; i++)
        {
            kept.Enqueue(Account());
            await _admission.ReserveAsync(kept.Last(), 40 * Megabyte, default);
        }
        _budget.MakeRoom = () =>
        {
            if (!kept.TryDequeue(out var oldest)) return false;
            oldest.Dispose();
            return true;
        };
        using var account = Account();
        await _admission.ReserveAsync(account, 100 * Megabyte, default);
        Assert.Single(kept);
        Assert.Equal(140 * Megabyte, _budget.Used);
    }

    [Fact]
    public void Nothing_is_rented_beyond_the_budget_whatever_was_reserved()
    {
        using var account = Account();
        Assert.True(account.TryReserve(4 * Megabyte, _budget.Limit));
        MemoryAccount.Current = account;
        using (var within = NativeBuffer.Rent(4 * Megabyte)) Assert.Equal(4 * Megabyte, _budget.Used);
        using (var beyond = NativeBuffer.Rent(128 * Megabyte))
        {
            Assert.Equal(128 * Megabyte, _budget.Used);
            Assert.Throws<MemoryBudgetException>(() => NativeBuffer.Rent(40 * Megabyte));
            account.Dispose();
            // What was left behind is counted until it is given back.
            Assert.Equal(128 * Megabyte, _budget.Used);
        }
        Assert.Equal(0, _budget.Used);
        MemoryAccount.Current = null;
    }

    private MemoryAccount Account() => new(_budget);
}
