using System.Diagnostics;
using System.IO.Compression;
using BnService.Api.Hosting.Limits;

namespace BnService.Api.Tests.Limits;

public sealed class RequestLimitTests
{
    [Fact]
    public async Task One_caller_sends_no_more_requests_per_second_than_allowed()
    {
        using var service = Service.With(("Limits:RequestsPerSecond", "1"), ("Limits:RequestBurst", "5"));
        for (var i = 0; i < 5; i++) (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        var refused = await service.Client.PostAsync("/v1/sessions", """{"num_features":2}""");
        refused.ExpectProblem("too-many-requests", "1 requests per second (Limits:RequestsPerSecond) and 5 at once (Limits:RequestBurst)");
        Assert.Equal("1", refused.Headers["Retry-After"]);
        Assert.Equal(429, (await service.Client.GetAsync("/v2/models/nosuch")).Status);
        (await service.Client.GetAsync("/health/live")).Expect(200);
        var waited = Stopwatch.StartNew();
        while ((await service.Client.GetAsync("/v1/sessions")).Status == 429) await Task.Delay(50);
        Assert.InRange(waited.Elapsed.TotalSeconds, 0.2, 30);
    }

    [Fact]
    public async Task Each_key_is_a_caller_of_its_own()
    {
        using var keyed = await KeyedService.StartAsync(("Limits:RequestsPerSecond", "1"), ("Limits:RequestBurst", "2"));
        var (one, other) = (KeyedService.Bearer(await keyed.KeyAsync("reader")), KeyedService.Bearer(await keyed.KeyAsync("reader")));
        for (var i = 0; i < 2; i++)
        {
            (await keyed.Client.GetAsync("/v1/sessions", one)).Expect(200);
            (await keyed.Client.GetAsync("/v1/sessions", other)).Expect(200);
        }
        (await keyed.Client.GetAsync("/v1/sessions", one)).ExpectProblem("too-many-requests");
        (await keyed.Client.GetAsync("/v1/sessions", other)).ExpectProblem("too-many-requests");
        // Who sends no key takes nobody's.
        (await keyed.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
    }

    [Fact]
    public async Task No_more_requests_are_served_at_one_time_than_allowed()
    {
        using var service = Service.With(("Limits:MaxConcurrentRequests", "2"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var rest = new TaskCompletionSource();
        var slow = Enumerable.Range(0, 2).Select(_ => new HeldContent("""{"x":[[1,2],[3,4]],"retain":false}"""u8.ToArray(), 10, rest.Task)).ToList();
        slow.ForEach(body => body.Headers.ContentType = new("application/json"));
        var waiting = slow.ConvertAll(body => service.Client.SendAsync(HttpMethod.Post, $"{session.Path}/train-step", body));
        await Eventually.EqualAsync(2, () => service.Held(Place.Request));
        var refused = await service.Unchecked.GetAsync("/v1/sessions");
        refused.ExpectProblem("overloaded", "2 requests at one time (Limits:MaxConcurrentRequests)");
        Assert.Equal("1", refused.Headers["Retry-After"]);
        foreach (var path in (string[])["/health/ready", "/v2/health/live", "/v1/keys"]) (await service.Client.GetAsync(path)).Expect(200);
        Assert.Equal(200, (await service.Unchecked.GetAsync("/metrics")).Status);
        rest.SetResult();
        foreach (var call in waiting) (await call).Expect(200);
        await Eventually.EqualAsync(0, () => service.Held(Place.Request));
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
    }

    [Fact]
    public async Task A_request_takes_no_longer_than_allowed_and_changes_nothing_then()
    {
        using var service = Service.With(("Limits:RequestTime", "00:00:00.5"), ("Sync:Timeout", "00:00:00.5"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        using var rest = new CancellationTokenSource();
        var held = new HeldContent("""{"x":[[1,2],[3,4]],"retain":false}"""u8.ToArray(), 10, Task.Delay(Timeout.Infinite, rest.Token));
        held.Headers.ContentType = new("application/json");
        var answer = service.Unchecked.SendAsync(HttpMethod.Post, $"{session.Path}/train-step", held);
        (await answer).ExpectProblem("overloaded", "took longer than 00:00:00.5000000 (Limits:RequestTime)");
        Assert.Equal("1", (await answer).Headers["Retry-After"]);
        Assert.Equal(0, (await session.StatsAsync())["num_batches_tracked"].GetInt32());
        await rest.CancelAsync();
    }

    /// <summary>As it was, the server could not skip the rest of the body, logged that, and ended the connection.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_request_that_was_given_up_while_its_body_came_leaves_its_connection_to_the_next(bool isCoded)
    {
        using var service = Service.OnKestrel(("Limits:RequestTime", "00:00:00.5"), ("Sync:Timeout", "00:00:00.5"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var body = """{"x":[[1,2],[3,4]],"retain":false}"""u8.ToArray();
        if (isCoded)
        {
            using var coded = new MemoryStream();
            using (var gzip = new GZipStream(coded, CompressionLevel.Fastest, leaveOpen: true)) gzip.Write(body);
            body = coded.ToArray();
        }
        using var connection = await service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/train-step", ("Content-Type", "application/json"), ("Content-Length", $"{body.Length}"),
            ("Content-Encoding", isCoded ? "gzip" : "identity"));
        await connection.WriteAsync(body.AsMemory(0, 12));
        Assert.Equal(503, (await connection.ReadAnswerAsync()).Status);
        await connection.WriteAsync(body.AsMemory(12));
        await connection.WriteHeadAsync("GET", "/v1/sessions");
        Assert.Equal(200, (await connection.ReadAnswerAsync()).Status);
    }

    [Fact]
    public async Task Headers_are_no_longer_than_allowed()
    {
        using var service = Service.OnKestrel(("Limits:MaxHeaderBytes", "1024"));
        Assert.StartsWith("HTTP/1.1 200", await GetAsync(service, 800), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 431", await GetAsync(service, 1100), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_body_comes_no_more_slowly_than_allowed()
    {
        using var service = Service.OnKestrel(("Limits:MinBytesPerSecond", "100000"), ("Limits:MinRateGrace", "00:00:02"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        using var connection = await service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/train-step", ("Content-Type", "application/json"), ("Content-Length", "1000"));
        await connection.WriteAsync("""{"x":""");
        var answer = await connection.ReadAnswerAsync();
        Assert.Equal(408, answer.Status);
    }

    private static async Task<string> GetAsync(Service service, int bytes)
    {
        using var connection = await service.ConnectAsync();
        await connection.WriteAsync($"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {new string('x', bytes)}\r\n\r\n");
        return await connection.ReadToEndAsync();
    }
}
