using BnService.Api.Hosting.Auth;
using Microsoft.AspNetCore.Routing;

namespace BnService.Api.Tests.Nodes;

/// <summary>A store that is away for a while, as a database that is restarted: inference goes on, changes wait for the client to come again.</summary>
public sealed class AwayTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Dy = Batch.Random(2, 16, 3);
    private static readonly string Body = $$"""{"x":{{X.Json}}}""";

    private static readonly Dictionary<string, Func<SessionClient, Task<Answer>>> Changes = new()
    {
        ["train-step"] = session => session.TrainAsync(X, retain: true),
        ["train-step with a key"] = session => session.TrainAsync(Body, ("Idempotency-Key", "k")),
        ["backward, update"] = session => session.BackwardAsync(X, Dy, update: """{"optimizer":"sgd"}"""),
        ["calibration/batches"] = session => session.CalibrateAsync(X),
        ["calibration/commit"] = session => session.CommitAsync(),
        ["calibration"] = session => session.DropCalibrationAsync(),
        ["merge"] = session => session.MergeAsync("""{"moments":[{"count":2,"mean":[1,2,3],"m2":[1,2,3]}]}"""),
        ["patch"] = session => session.PatchAsync("""{"momentum":0.5}"""),
        ["reset"] = session => session.ResetAsync(null),
        ["parameters"] = session => session.PutParametersAsync("""{"gamma":[1,2,3]}"""),
        ["running-stats"] = session => session.PutRunningStatsAsync("""{"running_mean":[1,2,3]}"""),
        ["state"] = session => session.PutStateAsync(Forms.Json, """{"running_mean":[1,2,3]}"""u8.ToArray()),
        ["snapshot"] = session => session.SnapshotAsync(),
        ["snapshot's end"] = session => session.DeleteSnapshotAsync(2),
        ["restore"] = session => session.RestoreAsync(2),
        ["delete"] = session => session.DeleteAsync(),
    };

    private readonly WatchedStore _store = new();
    private readonly ManualTime _time = new();
    private readonly Service _service;

    public AwayTests() => _service = Service.Node(_store, "one", _time);

    public static TheoryData<string> ChangeNames => new(Changes.Keys);

    public void Dispose() => _service.Dispose();

    [Theory]
    [MemberData(nameof(ChangeNames))]
    public async Task A_change_is_refused_with_the_time_to_come_again_and_has_changed_nothing(string change)
    {
        var session = await PreparedAsync();
        var before = await session.StateAsync() + (await session.GetStateAsync()).Text + (await session.SnapshotsAsync()).Text;
        var retained = _service.RetainedBytes;
        _store.IsAway = true;
        var refused = await Changes[change](Unchecked(session));
        refused.ExpectProblem("overloaded", "the store is away");
        Assert.Equal("1", refused.Headers["Retry-After"]);
        Assert.Equal(retained, _service.RetainedBytes);
        _store.IsAway = false;
        Assert.Equal(before, await session.StateAsync() + (await session.GetStateAsync()).Text + (await session.SnapshotsAsync()).Text);
        Assert.InRange((await Changes[change](session)).Status, 200, 204);
    }

    [Fact]
    public async Task Inference_goes_on_with_what_is_known()
    {
        var session = await PreparedAsync();
        var (live, pinned) = ((await session.InferAsync(X)).Expect(200), (await session.InferAsync(X, 2)).Expect(200));
        var model = new ModelClient(_service.Client, session);
        var request = ModelClient.Request(ModelClient.Input(X));
        var inferred = InferResult.Of(await model.InferAsync(request)).Singles;
        _store.IsAway = true;
        // However long it takes.
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(live.Text, (await session.InferAsync(X)).Expect(200).Text);
            Assert.Equal(pinned.Text, (await session.InferAsync(X, 2)).Expect(200).Text);
            Assert.Equal(inferred, InferResult.Of(await model.InferAsync(request)).Singles);
            Assert.Equal(live.Text, (await session.InferSinceAsync(X, live.Version)).Expect(200).Text);
            _time.AdvanceBy(TimeSpan.FromMinutes(1));
        }
        (await Unchecked(session).InferSinceAsync(X, live.Version + 1)).ExpectProblem("overloaded");
        // What is not in memory is not there.
        (await Unchecked(session).InferAsync(X, 1)).ExpectProblem("overloaded");
        (await _service.Unchecked.GetAsync("/v1/sessions/unknown")).ExpectProblem("overloaded");
        Assert.Equal("1", (await _service.Unchecked.GetAsync("/v1/sessions")).ExpectProblem("overloaded").Headers["Retry-After"]);
        (await _service.Unchecked.PostAsync("/v1/sessions", """{"num_features":3}""")).ExpectProblem("overloaded");
        (await _service.Unchecked.GetAsync("/v2/models/unknown")).ExpectError(503);
        _store.IsAway = false;
        (await session.InferAsync(X, 1)).ExpectProblem("version-not-found");
        Assert.Equal(live.Version + 1, (await session.TrainAsync(X)).Expect(200).Version);
    }

    /// <summary>Whatever there is, and whatever will be: of what is known alone, only inference speaks.</summary>
    [Fact]
    public async Task Nothing_that_is_read_is_answered_from_memory()
    {
        // What the process is, what it has counted itself, and what of a model never changes.
        string[] ofThisNode =
        [
            "/v1/events", "/v2", "/v2/models/{session}/ready", "/v2/models/{session}/config", "/v2/models/{session}/stats",
            "/v2/models/{session}/versions/{version}/ready", "/v2/models/{session}/versions/{version}/config", "/v2/models/{session}/versions/{version}/stats",
        ];
        var session = await PreparedAsync();
        (await session.StatsAsync()).Expect(200);
        var paths = _service.Routes
            .Where(route => route.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods.Contains("GET") == true && route.Metadata.GetMetadata<Access>()?.Least is not null)
            .Select(route => $"/{route.RoutePattern.RawText!.Trim('/')}").Where(path => path.StartsWith("/v", StringComparison.Ordinal) && !ofThisNode.Contains(path)).ToList();
        Assert.Contains("/v1/sessions/{session}/stats", paths);
        _store.IsAway = true;
        foreach (var path in paths.Where(path => path != "/v1/keys"))
        {
            var answer = await _service.Unchecked.GetAsync(path.Replace("{session}", session.Name, StringComparison.Ordinal).Replace("{version}", "2", StringComparison.Ordinal));
            Assert.True(answer.Status == 503, $"{path} answered {answer.Status}: {answer.Text}");
            Assert.Equal("1", answer.Headers["Retry-After"]);
        }
        (await Unchecked(session).FoldAsync("""{"layout":"linear"}""")).ExpectProblem("overloaded");
        // Their numbers are the state's, which another node may have changed since.
        (await Unchecked(session).BackwardAsync(X, Dy)).ExpectProblem("overloaded");
    }

    [Fact]
    public async Task Changes_that_wait_together_are_all_refused_and_those_after_them_made()
    {
        var session = await PreparedAsync();
        var version = (await session.GetAsync()).Version;
        var isHeld = new TaskCompletionSource();
        _store.BeforeNextUpdate = () => isHeld.Task;
        var steps = Enumerable.Range(0, 8).Select(i => Unchecked(session).TrainAsync(Batch.Random(i, 16, 3))).ToList();
        await Eventually.EqualAsync(7, () => _service.WaitingChanges(session.Name));
        _store.IsAway = true;
        isHeld.SetResult();
        foreach (var step in steps) (await step).ExpectProblem("overloaded");
        _store.IsAway = false;
        Assert.Equal(version, (await session.GetAsync()).Version);
        Assert.Equal(version + 1, (await session.TrainAsync(X)).Expect(200).Version);
    }

    /// <summary>The answer was lost, and not the change: under its key the step is found.</summary>
    [Fact]
    public async Task A_step_that_was_stored_although_the_store_seemed_away_is_found_under_its_key()
    {
        var session = await PreparedAsync();
        var version = (await session.GetAsync()).Version;
        _store.AfterNextUpdate = () => throw new Api.Storage.StorageUnavailableException("the answer was lost", null);
        (await Unchecked(session).TrainAsync(Body, ("Idempotency-Key", "lost"))).ExpectProblem("overloaded");
        var again = (await session.TrainAsync(Body, ("Idempotency-Key", "lost"))).Expect(200);
        Assert.Equal((version + 1, "true"), (again.Version, again.Headers["Idempotent-Replayed"]));
        Assert.Equal(version + 1, (await session.GetAsync()).Version);
    }

    // With a snapshot, something gathered and a state in memory.
    private async Task<SessionClient> PreparedAsync()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        (await session.TrainAsync(X)).Expect(200);
        (await session.SnapshotAsync()).Expect(201);
        (await session.CalibrateAsync(X)).Expect(200);
        (await session.InferAsync(X, 2)).Expect(200);
        return session;
    }

    private SessionClient Unchecked(SessionClient session) => new(_service.Unchecked, session.Name);
}
