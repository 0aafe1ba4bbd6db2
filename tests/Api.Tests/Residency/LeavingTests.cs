using System.Net.Http.Headers;

namespace BnService.Api.Tests.Residency;

/// <summary>
/// A session leaves memory while a call still holds it, and another call brings it back: the two must not differ. What eviction under load
/// hits once in a long while happens here every time.
/// </summary>
public sealed class LeavingTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3);

    private readonly WatchedStore _store = new() { IsShared = false };
    private readonly Service _service;
    private readonly List<SessionClient> _others = [];

    // Two or three small sessions find room.
    public LeavingTests() => _service = Service.Node(_store, "one", null, ("Sessions:MaxResidentBytes", "8000"));

    public void Dispose() => _service.Dispose();

    [Fact]
    public async Task A_session_that_left_is_read_from_the_store_when_it_is_used_again()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        (await session.TrainAsync(X)).Expect(200);
        var state = await session.GetStateAsync();
        var finds = _store.Finds;
        (await session.GetAsync()).Expect(200);
        Assert.Equal(finds, _store.Finds);
        await CrowdOutAsync();
        Assert.InRange(_service.ResidentBytes, 1, 8000);
        Assert.InRange(_service.ResidentCount, 1, 3);
        finds = _store.Finds;
        Assert.Equal(state.Text, (await session.GetStateAsync()).Text);
        Assert.Equal(finds + 1, _store.Finds);
    }

    /// <summary>Those that were not used for the longest time leave.</summary>
    [Fact]
    public async Task What_is_in_use_stays()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        (await session.GetAsync()).Expect(200);
        for (var i = 0; i < 20; i++)
        {
            (await (await _service.CreateAsync("""{"num_features":3}""")).GetAsync()).Expect(200);
            var finds = _store.Finds;
            (await session.InferAsync(X)).Expect(200);
            Assert.Equal(finds, _store.Finds);
        }
    }

    [Fact]
    public async Task A_session_that_is_changed_and_leaves_while_it_is_being_read_is_as_new_as_the_store()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        await CrowdOutAsync();
        _store.AfterNextFind = async () =>
        {
            (await session.TrainAsync(X)).Expect(200);
            await CrowdOutAsync();
        };
        (await session.InferAsync(X)).Expect(200);
        Assert.Equal(2, (await session.GetAsync()).Version);
        Assert.Equal(2, (await session.InferAsync(X)).Version);
        Assert.Equal(3, (await session.TrainAsync(X)).Version);
    }

    [Fact]
    public async Task A_step_on_a_session_that_left_meanwhile_is_seen_by_those_who_have_brought_it_back()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        var rest = new TaskCompletionSource();
        using var body = Held(rest.Task);
        var training = session.SendAsync(HttpMethod.Post, "train-step", body);
        await body.HasBegun.Task;
        // The call has found the session when it reads the batch.
        await Eventually.TrueAsync(() => _service.ResidentCount > 0, "the session is not in memory");
        await CrowdOutAsync();
        var old = (await session.InferAsync(X)).Expect(200);
        rest.SetResult();
        Assert.Equal(2, int.Parse((await training).Expect(200).Tensors.Texts["version"], System.Globalization.CultureInfo.InvariantCulture));
        Assert.Equal((1, 2), (old.Version, (await session.GetAsync()).Version));
        Assert.Equal(2, (await session.InferAsync(X)).Version);
        (await session.TrainAsync(Other, retain: true)).Expect(200);
        Assert.Equal(2, (await session.StatsAsync())["num_batches_tracked"].GetInt64());
    }

    [Fact]
    public async Task A_session_that_is_deleted_is_gone_although_it_was_brought_back_meanwhile()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        _store.BeforeNextDelete = async () =>
        {
            await CrowdOutAsync();
            (await session.InferAsync(X)).Expect(200);
        };
        (await session.DeleteAsync()).Expect(204);
        (await session.GetAsync()).ExpectProblem("session-not-found");
        (await session.InferAsync(X)).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task A_snapshot_that_is_deleted_is_gone_although_the_session_was_brought_back_meanwhile()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync()).Expect(201);
        (await session.InferAsync(X, 1)).Expect(200);
        _store.BeforeNextSnapshotDelete = async () =>
        {
            await CrowdOutAsync();
            (await session.InferAsync(X, 1)).Expect(200);
        };
        (await session.DeleteSnapshotAsync(1)).Expect(204);
        (await session.InferAsync(X, 1)).ExpectProblem("version-not-found");
    }

    [Fact]
    public async Task A_retained_step_and_a_key_stay_when_the_session_leaves()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        var body = $$"""{"x":{{X.Json}}}""";
        var first = (await session.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        await CrowdOutAsync();
        SameAnswer.Again(first, await session.TrainAsync(body, ("Idempotency-Key", "k")));
        await CrowdOutAsync();
        (await session.BackwardAsync(first.StepId!, Other)).Expect(200);
    }

    // Uses so many others that nothing else is left in memory.
    private async Task CrowdOutAsync()
    {
        while (_others.Count < 6) _others.Add(await _service.CreateAsync("""{"num_features":3}"""));
        foreach (var other in _others) (await other.GetAsync()).Expect(200);
    }

    private static HeldContent Held(Task rest)
    {
        var body = Message.Of(X).With("retain", "false").Body(Forms.Safetensors);
        return new(body, body.Length - 8, rest) { Headers = { ContentType = new MediaTypeHeaderValue(Forms.Safetensors) } };
    }
}
