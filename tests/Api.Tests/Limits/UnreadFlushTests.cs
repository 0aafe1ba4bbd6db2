using System.IO.Pipelines;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

public sealed class UnreadFlushTests
{
    /// <summary>As it was, an answer that was taken in the moment when its time was over failed.</summary>
    [Fact]
    public async Task An_answer_that_is_taken_as_its_time_ends_is_answered()
    {
        using var services = new ServiceCollection()
            .AddSingleton(Options.Create(new LimitOptions { UnreadTime = TimeSpan.FromMilliseconds(1) })).BuildServiceProvider();
        var context = new DefaultHttpContext { RequestServices = services };
        var taking = new TaskCompletionSource<FlushResult>();
        var before = SynchronizationContext.Current;
        ValueTask<FlushResult> flush;
        try
        {
            // What waits goes on after the client has taken all.
            SynchronizationContext.SetSynchronizationContext(new Before(() => taking.TrySetResult(new FlushResult(false, true))));
            flush = UnreadAnswer.WatchAsync(context, new(taking.Task));
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }
        Assert.True((await flush).IsCompleted);
    }

    private sealed class Before(Action act) : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state)
        {
            act();
            d(state);
        }
    }
}
