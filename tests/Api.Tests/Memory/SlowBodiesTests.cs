using BnService.Api.Tests.Expected;
using BnService.Api.Tests.Harness;

namespace BnService.Api.Tests.Memory;

/// <summary>Large bodies that hardly come hold memory that others wait for.</summary>
public sealed class SlowBodiesTests
{
    private const int Bytes = 6 << 20;

    [Fact]
    public async Task A_body_that_hardly_comes_gives_way_to_those_that_wait_for_its_memory()
    {
        using var service = Service.OnKestrel(("Memory:BudgetBytes", $"{64 << 20}"));
        var session = await service.CreateAsync("""{"num_features":64}""");
        var batch = Batch.Random(1, 4000, 64);
        (await session.InferAsync(batch)).Expect(200);
        var slow = new List<RawConnection>();
        try
        {
            // More than there is room for: some wait, and are refused.
            for (var i = 0; i < 8; i++)
            {
                slow.Add(await service.ConnectAsync());
                await slow[i].WriteHeadAsync("POST", $"{session.Path}/inference", ("Content-Type", "application/json"), ("Content-Length", $"{Bytes}"));
                await slow[i].WriteAsync("""{"x":[[""");
            }
            var answers = slow.ConvertAll(StatusAsync);
            await Task.Delay(2500);
            Assert.InRange(service.UsedMemory, 48L << 20, 64L << 20);
            // As it was, nothing of this size was answered for as long as the slow ones pleased.
            (await session.InferAsync(batch)).Expect(200);
            await Eventually.TrueAsync(() => answers.Exists(answer => answer is { IsCompletedSuccessfully: true, Result: 408 }), "none has given way");
        }
        finally
        {
            slow.ForEach(connection => connection.Dispose());
        }
        await Eventually.EqualAsync(0, () => service.UsedMemory);
    }

    private static async Task<int> StatusAsync(RawConnection connection) => (await connection.ReadAnswerAsync()).Status;
}
