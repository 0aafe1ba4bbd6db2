namespace BnService.Api.Tests.Nodes;

/// <summary>Two nodes on one store: what one has answered the other knows, at once or soon.</summary>
public sealed class NodesTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3);
    private static readonly TimeSpan Refresh = TimeSpan.FromMilliseconds(1000);

    private readonly WatchedStore _store = new();
    private readonly ManualTime _time = new();
    private readonly Service _one, _two;

    public NodesTests() => (_one, _two) = (Service.Node(_store, "one", _time), Service.Node(_store, "two", _time));

    public void Dispose()
    {
        _one.Dispose();
        _two.Dispose();
    }

    [Fact]
    public async Task Whatever_reads_or_changes_the_state_sees_the_newest_at_once()
    {
        var (here, there) = await CreateAsync("""{"num_features":3}""");
        (await there.InferAsync(X)).Expect(200);
        var reference = new ReferenceLayer(3);
        for (var i = 0; i < 6; i++)
        {
            // Now on this node, now on that one, and nobody waits.
            var (mover, reader) = i % 2 == 0 ? (here, there) : (there, here);
            var batch = Batch.Random(20 + i, 16, 3);
            reference.Train(batch);
            Assert.Equal(i + 2, (await mover.TrainAsync(batch)).Expect(200).Version);
            Assert.Equal(i + 2, (await reader.GetAsync()).Expect(200).Version);
            Accuracy.Running_statistics_are(reference.Running, batch, await reader.StatsAsync());
            Assert.Equal((await mover.GetStateAsync()).Text, (await reader.GetStateAsync()).Text);
        }
    }

    [Theory]
    [InlineData("patch")]
    [InlineData("reset")]
    [InlineData("parameters")]
    [InlineData("running-stats")]
    [InlineData("state")]
    [InlineData("backward")]
    [InlineData("calibration")]
    [InlineData("restore")]
    public async Task Every_change_is_seen_by_the_other_node(string change)
    {
        var (here, there) = await CreateAsync("""{"num_features":3}""");
        (await here.SnapshotAsync()).Expect(201);
        (await here.TrainAsync(X)).Expect(200);
        Assert.Equal(2, (await there.GetAsync()).Version);
        var answer = await (change switch
        {
            "patch" => here.PatchAsync("""{"momentum":0.5}"""),
            "reset" => here.ResetAsync(null),
            "parameters" => here.PutParametersAsync("""{"gamma":[1,2,3]}"""),
            "running-stats" => here.PutRunningStatsAsync("""{"running_mean":[1,2,3]}"""),
            "state" => here.PutStateAsync(Forms.Json, """{"running_mean":[1,2,3]}"""u8.ToArray()),
            "backward" => here.BackwardAsync(X, Other, update: """{"optimizer":"sgd"}"""),
            "calibration" => here.CalibrateAsync(X),
            _ => here.RestoreAsync(1),
        });
        Assert.Equal(3, answer.Expect(200).Version);
        Assert.Equal((await here.GetStateAsync()).Text, (await there.GetStateAsync()).Text);
        Assert.Equal(4, (await there.TrainAsync(X)).Expect(200).Version);
    }

    /// <summary>Inference asks nobody for a moment, and then sees it; other reads in between make it see it sooner.</summary>
    [Fact]
    public async Task Inference_sees_the_newest_after_a_moment()
    {
        var (here, there) = await CreateAsync("""{"num_features":3}""");
        var old = (await there.InferAsync(X)).Expect(200);
        Assert.Equal(1, old.Version);
        (await here.TrainAsync(Other)).Expect(200);
        var finds = _store.Finds;
        _time.AdvanceBy(Refresh - TimeSpan.FromMilliseconds(1));
        var still = (await there.InferAsync(X)).Expect(200);
        Assert.Equal((old.Text, finds), (still.Text, _store.Finds));
        _time.AdvanceBy(TimeSpan.FromMilliseconds(1));
        var newest = (await there.InferAsync(X)).Expect(200);
        Assert.Equal(2, newest.Version);
        Assert.Equal((await here.InferAsync(X)).Text, newest.Text);
        (await here.TrainAsync(Other)).Expect(200);
        Assert.Equal(2, (await there.InferAsync(X)).Version);
        Assert.Equal(3, (await there.GetAsync()).Version);
        Assert.Equal(3, (await there.InferAsync(X)).Version);
    }

    [Fact]
    public async Task The_moment_is_an_option()
    {
        using var never = Service.Node(_store, "three", _time, ("Storage:RefreshMs", "0"));
        var (here, _) = await CreateAsync("""{"num_features":3}""");
        var there = new SessionClient(never.Client, here.Name);
        for (var version = 1; version < 5; version++)
        {
            Assert.Equal(version, (await there.InferAsync(X)).Expect(200).Version);
            (await here.TrainAsync(X)).Expect(200);
        }
    }

    [Fact]
    public async Task A_node_that_is_told_of_a_version_sees_it_at_once()
    {
        var (here, there) = await CreateAsync("""{"num_features":3}""");
        var id = (await there.GetAsync())["id"].GetString()!;
        (await there.InferAsync(X)).Expect(200);
        (await here.TrainAsync(Other)).Expect(200);
        Assert.Equal(1, (await there.InferAsync(X)).Version);
        _store.Notify(id, 2);
        Assert.Equal(2, (await there.InferAsync(X)).Version);
        // An old word, and one of a session that nobody knows, change nothing.
        _store.Notify(id, 1);
        _store.Notify("nosuch", 5);
        Assert.Equal(2, (await there.InferAsync(X)).Expect(200).Version);
        (await here.DeleteAsync()).Expect(204);
        _store.Notify(id, 0);
        (await there.InferAsync(X)).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task A_session_that_another_node_deletes_is_gone_and_one_that_it_creates_is_there()
    {
        var (here, there) = await CreateAsync("""{"name":"reborn","num_features":3}""");
        (await there.TrainAsync(X)).Expect(200);
        (await there.TrainAsync(X)).Expect(200);
        (await here.DeleteAsync()).Expect(204);
        (await there.GetAsync()).ExpectProblem("session-not-found");
        (await there.TrainAsync(X)).ExpectProblem("session-not-found");
        (await there.InferAsync(X)).ExpectProblem("session-not-found");
        await _one.CreateAsync("""{"name":"reborn","num_features":5}""");
        Assert.Equal(5, (await there.GetAsync()).Expect(200)["num_features"].GetInt32());
        (await there.TrainAsync(X)).ExpectProblem("shape-mismatch");

        // Inference looks a moment later, whichever way the other one is reached.
        var wide = Batch.Random(4, 16, 5);
        var old = (await there.GetAsync())["id"].GetString()!;
        (await there.InferAsync(wide)).Expect(200);
        (await here.DeleteAsync()).Expect(204);
        await _one.CreateAsync("""{"name":"reborn","num_features":3}""");
        (await there.InferAsync(wide)).Expect(200);
        _time.AdvanceBy(Refresh);
        (await there.InferAsync(wide)).ExpectProblem("shape-mismatch");
        (await there.InferAsync(X)).Expect(200);
        (await _two.Client.GetAsync($"/v1/sessions/{old}")).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task A_snapshot_of_one_node_is_used_and_deleted_on_the_other()
    {
        var (here, there) = await CreateAsync("""{"num_features":3}""");
        (await here.TrainAsync(X)).Expect(200);
        (await here.SnapshotAsync()).Expect(201);
        (await here.TrainAsync(Other)).Expect(200);
        var pinned = (await there.InferAsync(X, 2)).Expect(200);
        Assert.Equal((await here.InferAsync(X, 2)).Expect(200).Text, pinned.Text);
        Assert.Equal((await here.SnapshotsAsync()).Text, (await there.SnapshotsAsync()).Text);
        Assert.Equal(3, (await there.SnapshotAsync()).Expect(201).Version);
        Assert.Equal(3, (await here.SnapshotAsync()).Expect(200).Version);
        (await here.DeleteSnapshotAsync(2)).Expect(204);
        (await here.InferAsync(X, 2)).ExpectProblem("version-not-found");
        // What it has in memory it may use a moment longer.
        Assert.Equal(pinned.Text, (await there.InferAsync(X, 2)).Text);
        _time.AdvanceBy(Refresh);
        (await there.InferAsync(X, 2)).ExpectProblem("version-not-found");
        (await there.GetSnapshotAsync(2)).ExpectProblem("version-not-found");
    }

    [Fact]
    public async Task A_key_of_one_node_is_known_to_the_other()
    {
        var (here, there) = await CreateAsync("""{"kind":"batch_renorm","num_features":3,"renorm":{"warmup_steps":0}}""");
        var train = $$"""{"x":{{X.Json}}}""";
        var update = $$$"""{"x":{{{X.Json}}},"dy":{{{Other.Json}}},"update":{"optimizer":"adam"}}""";
        (await there.TrainAsync(Other)).Expect(200);
        var steps = (await here.TrainAsync(train, ("Idempotency-Key", "t"))).Expect(200);
        (await there.TrainAsync(Other)).Expect(200);
        SameAnswer.Again(steps, await there.TrainAsync(train, ("Idempotency-Key", "t")));
        (await there.TrainAsync(train + " ", ("Idempotency-Key", "t"))).ExpectProblem("idempotency-key-reused");
        var updated = (await there.BackwardAsync(update, ("Idempotency-Key", "u"))).Expect(200);
        SameAnswer.Again(updated, await here.BackwardAsync(update, ("Idempotency-Key", "u")));
        Assert.Equal(5, (await here.GetAsync()).Version);
    }

    [Fact]
    public async Task A_step_lies_on_the_node_that_its_name_says()
    {
        var (here, there) = await CreateAsync("""{"num_features":3}""");
        var step = (await here.TrainAsync(X, retain: true)).Expect(200).StepId!;
        Assert.StartsWith("one:", step, StringComparison.Ordinal);
        var refused = await there.RefusedAsync(s => s.BackwardAsync(step, Other, """{"optimizer":"sgd"}"""));
        refused.ExpectProblem("step-expired", step, "node 'one'", "node 'two'", "resend x with dy instead of step_id");
        // Which is what helps, there as here.
        var expected = (await here.BackwardAsync(step, Other)).Expect(200);
        Assert.Equal(expected.Text, (await there.BackwardAsync(X, Other)).Expect(200).Text);
        Assert.StartsWith("two:", (await there.TrainAsync(X, retain: true)).Expect(200).StepId, StringComparison.Ordinal);
    }

    private async Task<(SessionClient Here, SessionClient There)> CreateAsync(string options)
    {
        var session = await _one.CreateAsync(options);
        return (session, new SessionClient(_two.Client, session.Name));
    }
}
