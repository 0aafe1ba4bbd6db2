using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Http;

namespace BnService.Api.Tests.Memory;

public sealed class ArrivingBodiesTests
{
    /// <summary>As it was, the product of the two was no time any more, and the failure ended the process: it came in a timer.</summary>
    [Theory]
    [InlineData(1L << 30, 24 * 60)]
    [InlineData(1L << 20, 3)]
    public async Task A_body_of_any_length_gives_way_after_any_time(long length, int minutes)
    {
        var (time, context) = (new ManualTime(), new DefaultHttpContext());
        var bodies = new ArrivingBodies(time);
        RequestContext.Of(context).IsAwaitingBody = true;
        using var account = new MemoryAccount(new MemoryBudget(length));
        Assert.True(account.TryReserve(length, length));
        await RequestDeadline.ServeAsync(context, async request =>
        {
            bodies.Add(RequestContext.Of(request), length, account);
            time.AdvanceBy(TimeSpan.FromMinutes(minutes));
            bodies.MakeRoom(1);
            Assert.True(request.RequestAborted.IsCancellationRequested);
            await Task.CompletedTask;
        }, TimeSpan.FromDays(2), time);
    }
}
