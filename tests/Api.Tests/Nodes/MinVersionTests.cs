using System.Diagnostics;

namespace BnService.Api.Tests.Nodes;

/// <summary>Bn-Min-Version: who knows which version his call has made reads nothing older, on any node.</summary>
public sealed class MinVersionTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3);

    private readonly WatchedStore _store = new();
    private readonly ManualTime _time = new();
    private readonly Service _one, _two;

    public MinVersionTests() => (_one, _two) = (Service.Node(_store, "one", _time), Service.Node(_store, "two", _time));

    public void Dispose()
    {
        _one.Dispose();
        _two.Dispose();
    }

    [Fact]
    public async Task What_was_written_here_is_read_there_at_once()
    {
        var (here, there) = await CreateAsync();
        (await there.InferAsync(X)).Expect(200);
        for (var i = 0; i < 3; i++)
        {
            var version = (await here.TrainAsync(Other)).Expect(200).Version;
            Assert.Equal(version - 1, (await there.InferAsync(X)).Version);
            var newest = (await there.InferSinceAsync(X, version)).Expect(200);
            Assert.Equal((await here.InferAsync(X)).Text, newest.Text);
        }
        // An older one is no wish at all, and 0 is none.
        foreach (var least in (string[])["0", "1", "4"]) Assert.Equal(4, (await there.InferSinceAsync(X, least)).Expect(200).Version);
    }

    [Theory]
    [InlineData(Forms.Safetensors)]
    [InlineData(Forms.Npy)]
    public async Task Every_form_of_inference_honours_it_also_where_the_answer_is_streamed(string form)
    {
        var (here, there) = await CreateAsync();
        var large = Message.Of(Batch.Random(3, 100_000, 3));
        (await there.PostAsync("inference", large, form)).Expect(200);
        var version = (await here.TrainAsync(Other)).Expect(200).Version;
        var answer = (await there.PostAsync("inference", large, form, headers: ("Bn-Min-Version", $"{version}"))).Expect(200);
        Assert.Equal("\"2\"", answer.ETag);
        Assert.Equal((await here.PostAsync("inference", large, form)).Body, answer.Body);
    }

    [Fact]
    public async Task The_open_inference_protocol_honours_it()
    {
        var (here, there) = await CreateAsync();
        var (near, far) = (new ModelClient(_one.Client, here), new ModelClient(_two.Client, there));
        var request = ModelClient.Request(ModelClient.Input(X));
        var old = InferResult.Of(await far.InferAsync(request)).Singles;
        (await here.TrainAsync(Other)).Expect(200);
        Assert.Equal(old, InferResult.Of(await far.InferAsync(request)).Singles);
        Assert.Equal(InferResult.Of(await near.InferAsync(request)).Singles, InferResult.Of(await far.InferAsync(request, ("Bn-Min-Version", "2"))).Singles);
        (await far.InferAsync(request, ("Bn-Min-Version", "two"))).ExpectError(400, "Bn-Min-Version");
    }

    /// <summary>It may be on its way, so that it is waited for, by the clock; it never comes.</summary>
    [Fact]
    public async Task A_version_that_there_is_not_is_waited_for_and_refused()
    {
        var (_, there) = await CreateAsync();
        var waiting = there.InferSinceAsync(X, 2);
        for (var waited = 0; waited < 300 && !waiting.IsCompleted; waited++)
        {
            _time.AdvanceBy(TimeSpan.FromMilliseconds(10));
            await Task.Delay(1);
        }
        (await waiting.WaitAsync(TimeSpan.FromSeconds(30))).ExpectProblem("version-conflict", "Bn-Min-Version asks for version 2 or newer", "at version 1");
    }

    [Fact]
    public async Task A_version_that_comes_while_it_is_waited_for_is_used()
    {
        var (here, there) = await CreateAsync();
        (await there.InferAsync(X)).Expect(200);
        var waiting = there.InferSinceAsync(X, 2);
        (await here.TrainAsync(Other)).Expect(200);
        while (!waiting.IsCompleted)
        {
            _time.AdvanceBy(TimeSpan.FromMilliseconds(10));
            await Task.Delay(1);
        }
        Assert.Equal(2, (await waiting).Expect(200).Version);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task It_takes_no_longer_than_a_few_seconds(bool isShared)
    {
        using var service = Service.Node(new WatchedStore { IsShared = isShared }, "real");
        var session = await service.CreateAsync("""{"num_features":3}""");
        var watch = Stopwatch.StartNew();
        (await session.InferSinceAsync(X, long.MaxValue)).ExpectProblem("version-conflict", "9223372036854775807");
        Assert.InRange(watch.Elapsed.TotalSeconds, isShared ? 1.5 : 0, isShared ? 10 : 1);
        Assert.Equal(200, (await session.InferSinceAsync(X, 1)).Status);
    }

    [Fact]
    public async Task A_session_that_is_deleted_while_a_version_is_waited_for_refuses_it()
    {
        var (here, there) = await CreateAsync();
        (await there.InferAsync(X)).Expect(200);
        (await here.DeleteAsync()).Expect(204);
        Assert.Contains((await there.InferSinceAsync(X, 2)).Status, (int[])[404, 412]);
        (await there.InferAsync(X)).ExpectProblem("session-not-found");
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("abc")]
    [InlineData("1.5")]
    [InlineData("1e3")]
    [InlineData("\"2\"")]
    [InlineData("2, 3")]
    [InlineData("99999999999999999999")]
    public async Task What_is_no_version_is_refused(string version)
    {
        var (here, _) = await CreateAsync();
        (await here.InferSinceAsync(X, version)).ExpectProblem("invalid-option", "Bn-Min-Version must be a whole number", version);
    }

    [Fact]
    public async Task It_is_about_the_session_also_where_a_snapshot_is_asked_for()
    {
        var (here, there) = await CreateAsync();
        (await here.SnapshotAsync()).Expect(201);
        (await there.InferAsync(X)).Expect(200);
        (await here.TrainAsync(Other)).Expect(200);
        var answer = await there.PostAsync("inference?version=1", Message.Of(X), Forms.Json, headers: ("Bn-Min-Version", "2"));
        Assert.Equal(1, answer.Expect(200).Version);
    }

    private async Task<(SessionClient Here, SessionClient There)> CreateAsync()
    {
        var session = await _one.CreateAsync("""{"num_features":3}""");
        return (session, new SessionClient(_two.Client, session.Name));
    }
}
