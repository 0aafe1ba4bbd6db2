using System.Runtime.CompilerServices;
using BnService.Api.Hosting.Limits;
using BnService.Api.Sessions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

public sealed class CallerGatesTests
{
    private readonly LargeBodies _bodies = new(Options.Create(new ComputeOptions { LargeBatches = 1 }));

    [Fact]
    public async Task One_caller_waits_for_itself_and_not_for_another()
    {
        var (one, two) = (new Caller(isOne: true), new Caller(isOne: true));
        var first = await _bodies.EnterAsync(one, default);
        var second = _bodies.EnterAsync(one, default).AsTask();
        (await _bodies.EnterAsync(two, default)).Dispose();
        Assert.False(second.IsCompleted);
        first.Dispose();
        (await second).Dispose();
    }

    /// <summary>As it was, something of each key was kept until the process ended.</summary>
    [Fact]
    public async Task Nothing_is_left_of_a_caller_that_is_gone()
    {
        var gone = await PassAsync();
        for (var i = 0; i < 10 && gone.IsAlive; i++)
        {
            GC.Collect();
            await Task.Yield();
        }
        Assert.False(gone.IsAlive);
        GC.KeepAlive(_bodies);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private async Task<WeakReference> PassAsync()
    {
        var caller = new Caller(isOne: true);
        (await _bodies.EnterAsync(caller, default)).Dispose();
        return new WeakReference(caller);
    }
}
