using BnService.Api.Hosting;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace BnService.Api.Tests.Problems;

/// <summary>Clients that go away half way: nothing changes, nothing is kept, and the service goes on.</summary>
[Collection(WholeProcess.Name)]
public sealed class HangUpTests : IDisposable
{
    private static readonly (string, string) Json = ("Content-Type", "application/json");

    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Service _service = Service.OnKestrel();

    /// <summary>What reading a body says of a connection that the service has closed, before the request is told.</summary>
    [Fact]
    public void A_connection_that_was_closed_while_a_body_came_is_no_failure()
    {
        Assert.True(HangUp.IsOne(new TaskCanceledException("", new ConnectionAbortedException()), CancellationToken.None));
        Assert.True(HangUp.IsOne(new IOException("", new ConnectionResetException("")), CancellationToken.None));
        Assert.False(HangUp.IsOne(new TaskCanceledException("", new IOException()), CancellationToken.None));
    }

    /// <summary>The server logs an error where fewer bytes come than were announced.</summary>
    [Fact]
    public void An_answer_that_nobody_waits_for_any_more_has_no_length()
    {
        var context = new DefaultHttpContext();
        context.Response.ContentLength = 4096;
        HangUp.End(context);
        Assert.Null(context.Response.ContentLength);
        Assert.Equal(499, context.Response.StatusCode);
    }

    [Theory]
    [InlineData("train-step", true)]
    [InlineData("train-step", false)]
    [InlineData("backward", true)]
    [InlineData("inference", false)]
    public async Task A_client_that_hangs_up_while_it_sends_leaves_nothing_behind(string call, bool isAnnounced)
    {
        var session = await _service.CreateAsync("""{"name":"hang-up","num_features":64}""");
        var before = await session.StateAsync();
        var x = Batch.Random(1, 512, 64).Json;
        var body = call == "backward" ? $"{{\"dy\":{x},\"x\":{x}}}" : $"{{\"x\":{x}}}";
        for (var i = 1; i <= 8; i++)
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/{call}", Json,
                isAnnounced ? ("Content-Length", $"{body.Length}") : ("Transfer-Encoding", "chunked"));
            var part = body[..(body.Length * i / 9)];
            await (isAnnounced ? connection.WriteAsync(part) : connection.WriteChunkAsync(part));
            // The service has begun to read: it holds memory for the body.
            await Eventually.TrueAsync(() => Service.RentedBytes > _rentedBefore, "the service has not begun to read");
            connection.Abort();
            await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        }
        Assert.Equal(before, await session.StateAsync());
        (await session.TrainAsync(Batch.Random(2, 4, 64))).Expect(200);
    }

    [Fact]
    public async Task A_client_that_hangs_up_while_it_receives_leaves_nothing_behind()
    {
        // So large that no buffer on the way holds the answer.
        var session = await _service.CreateAsync("""{"name":"hang-up","num_features":64}""");
        var body = $"{{\"x\":{Batch.Random(1, 16384, 64).Json}}}";
        for (var i = 0; i < 3; i++)
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/inference", Json, ("Content-Length", $"{body.Length}"));
            await connection.WriteAsync(body);
            await connection.ReadUntilAsync("\"data\":[");
            Assert.True(Service.RentedBytes > _rentedBefore, "the whole answer has been written although nobody reads it");
            connection.Abort();
            await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        }
        (await session.InferAsync("{\"x\":[" + Batch.Random(1, 1, 64).NestedJson[1..^1] + "]}")).Expect(200);
    }

    /// <summary>The step was committed before its answer could be sent: it counts, and its activations are those of a step.</summary>
    [Fact]
    public async Task A_step_whose_answer_nobody_reads_has_still_been_made_once()
    {
        var session = await _service.CreateAsync("""{"name":"hang-up","num_features":64}""");
        var body = $"{{\"x\":{Batch.Random(1, 16384, 64).Json},\"retain\":false}}";
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/train-step", Json, ("Content-Length", $"{body.Length}"));
        await connection.WriteAsync(body);
        await connection.ReadUntilAsync("\"data\":[");
        connection.Abort();
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        Assert.Equal(1, (await session.GetAsync()).Expect(200)["num_batches_tracked"].GetInt64());
    }

    public void Dispose() => _service.Dispose();
}
