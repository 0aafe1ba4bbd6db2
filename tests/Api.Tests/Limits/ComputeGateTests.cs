using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

public sealed class ComputeGateTests : IDisposable
{
    private static readonly Shape Large = new(1, ComputeGate.LargeElements), Small = new(1, ComputeGate.LargeElements - 1);
    private readonly ComputeGate _gate = new(Options.Create(new ComputeOptions { LargeBatches = 2 }), new WaitMeter(new ServiceMeter()));

    public void Dispose() => _gate.Dispose();

    [Fact]
    public async Task Large_batches_take_turns_and_small_ones_pass()
    {
        var first = await _gate.EnterAsync(Large, default);
        using var second = await _gate.EnterAsync(Large, default);
        var third = _gate.EnterAsync(Large, default).AsTask();
        using var small = await _gate.EnterAsync(Small, default);
        Assert.False(third.IsCompleted);
        first.Dispose();
        (await third).Dispose();
        Assert.Equal(1, _gate.Free);
    }

    [Fact]
    public async Task A_client_that_hangs_up_gives_its_turn_to_the_next()
    {
        var turns = new[] { await _gate.EnterAsync(Large, default), await _gate.EnterAsync(Large, default) };
        using var hangUp = new CancellationTokenSource();
        var gone = _gate.EnterAsync(Large, hangUp.Token).AsTask();
        await hangUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => gone);
        foreach (var turn in turns) turn.Dispose();
        Assert.Equal(2, _gate.Free);
    }
}
