namespace BnService.Api.Tests.Nodes;

/// <summary>
/// What is stored goes back under running nodes, as where a standby takes over that has not got the last commits, or a backup is restored:
/// what is stored is the truth, and a version of the same number may be another state.
/// </summary>
public sealed class BackInTimeTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3), Dy = Batch.Random(3, 16, 3);

    private readonly WatchedStore _store = new();
    private readonly Service _one, _two, _alone = new();

    public BackInTimeTests() => (_one, _two) = (Service.Node(_store, "one"), Service.Node(_store, "two"));

    public void Dispose()
    {
        _one.Dispose();
        _two.Dispose();
        _alone.Dispose();
    }

    [Fact]
    public async Task All_nodes_go_on_with_what_is_stored()
    {
        var (one, two, alone) = await CreateAsync();
        var goBack = await TrainAsync(X, one, alone);
        await TrainAsync(Other, one);
        await TrainAsync(Other, two);
        (await one.StatsAsync()).Expect(200);
        await goBack();
        foreach (var node in new[] { one, two }) Assert.Equal((await alone.StatsAsync()).Text, (await node.StatsAsync()).Text);
        await TrainAsync(Other, two, alone);
        await TrainAsync(X, one, alone);
        foreach (var node in new[] { one, two }) Assert.Equal((await alone.GetStateAsync()).Text, (await node.GetStateAsync()).Text);
        foreach (var node in new[] { _one, _two }) Assert.Equal(1, (await Exposition.OfAsync(node)).Value("bnservice_sessions_set_back_total"));
    }

    /// <summary>A train-step that comes first, before anybody reads.</summary>
    [Fact]
    public async Task A_change_is_made_on_what_is_stored()
    {
        var (one, _, alone) = await CreateAsync();
        var goBack = await TrainAsync(X, one, alone);
        await TrainAsync(Other, one);
        _store.BeforeNextUpdate = goBack;
        await TrainAsync(Dy, one, alone);
        Assert.Equal((await alone.GetStateAsync()).Text, (await one.GetStateAsync()).Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_version_that_is_lost_does_not_overwrite_another_one_of_its_number(bool isDuringStep)
    {
        var (one, two, alone) = await CreateAsync();
        var goBack = await TrainAsync(X, one, alone);
        await TrainAsync(Other, one);
        var again = async () =>
        {
            await goBack();
            await TrainAsync(Dy, two, alone);
        };
        if (isDuringStep) _store.BeforeNextUpdate = again;
        else await again();
        await TrainAsync(X, one);
        await TrainAsync(X, alone);
        foreach (var node in new[] { one, two }) Assert.Equal((await alone.GetStateAsync()).Text, (await node.GetStateAsync()).Text);
        Assert.Equal("\"4\"", (await one.GetAsync()).ETag);
    }

    /// <summary>Inference, which may be a moment old, once a notification has come: its number may be one that is known.</summary>
    [Fact]
    public async Task Inference_and_deletion_take_what_is_stored_too()
    {
        var (one, two, alone) = await CreateAsync();
        var goBack = await TrainAsync(X, one, alone);
        await TrainAsync(Other, one);
        await goBack();
        await TrainAsync(Dy, two, alone);
        _store.Notify((await two.GetAsync()).Expect(200)["id"].GetString()!, 3);
        Assert.Equal((await alone.InferAsync(X))["y"].GetRawText(), (await one.InferAsync(X))["y"].GetRawText());
        await goBack();
        (await one.DeleteAsync()).Expect(204);
        (await two.StatsAsync()).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task What_a_node_keeps_of_lost_versions_is_gone()
    {
        var (one, _, alone) = await CreateAsync();
        var goBack = await TrainAsync(X, one, alone);
        var lost = (await one.TrainAsync(Other, retain: true)).Expect(200)["step_id"].GetString()!;
        (await one.SnapshotAsync()).Expect(201);
        var frozen = (await one.InferAsync(X, 3)).Expect(200)["y"].GetRawText();
        await goBack();
        var keyed = $$"""{"x":{{Dy.Json}},"retain":false}""";
        Assert.Equal(3, (await one.TrainAsync(keyed, ("Idempotency-Key", "k"))).Expect(200)["version"].GetInt64());
        (await one.BackwardAsync(lost, Dy)).ExpectProblem("step-expired");
        (await one.InferAsync(X, 3)).ExpectProblem("version-not-found");
        (await one.SnapshotAsync()).Expect(201);
        Assert.NotEqual(frozen, (await one.InferAsync(X, 3)).Expect(200)["y"].GetRawText());
        Assert.Equal([3, 2], (await one.HistoryAsync()).Expect(200)["steps"].EnumerateArray().Select(step => step.GetProperty("version").GetInt32()));
        await goBack();
        // The answer went with the state: the step is made, once.
        Assert.Equal(3, (await one.TrainAsync(keyed, ("Idempotency-Key", "k"))).Expect(200)["version"].GetInt64());
        await TrainAsync(Dy, alone);
        Assert.Equal((await alone.GetStateAsync()).Text, (await one.GetStateAsync()).Text);
        (await one.InferSinceAsync(X, 4)).ExpectProblem("version-conflict");
    }

    /// <summary>The row of a session is put back, and the answers of the lost versions are still there.</summary>
    [Fact]
    public async Task A_remembered_answer_of_a_lost_version_is_no_answer()
    {
        var (one, two, alone) = await CreateAsync();
        await TrainAsync(X, one, alone);
        var goBack = await _store.BackUpAsync("s", isRowAlone: true);
        string[] bodies = [.. new[] { Other, Dy, X }.Select(x => $$"""{"x":{{x.Json}},"retain":false}""")];
        for (var i = 0; i < bodies.Length; i++) (await one.TrainAsync(bodies[i], ("Idempotency-Key", $"{i}"))).Expect(200);
        await goBack();
        for (var i = 0; i < bodies.Length; i++)
        {
            var again = (await (i == 1 ? one : two).TrainAsync(bodies[i], ("Idempotency-Key", $"{i}"))).Expect(200);
            Assert.Equal((await alone.TrainAsync(bodies[i])).Expect(200)["version"].GetInt64(), again["version"].GetInt64());
            SameAnswer.Again(again, await one.TrainAsync(bodies[i], ("Idempotency-Key", $"{i}")));
        }
        Assert.Equal((await alone.GetStateAsync()).Text, (await one.GetStateAsync()).Text);
    }

    [Fact]
    public async Task A_change_that_is_always_overtaken_ends_with_503()
    {
        var (one, _, _) = await CreateAsync();
        _store.IsAlwaysOvertaken = true;
        var refused = await new SessionClient(_one.Unchecked, one.Name).TrainAsync(X);
        Assert.Equal(503, refused.Status);
        Assert.Contains("nothing has changed", refused.Text, StringComparison.Ordinal);
        _store.IsAlwaysOvertaken = false;
        Assert.Equal(2, (await one.TrainAsync(X)).Expect(200)["version"].GetInt64());
    }

    private async Task<(SessionClient One, SessionClient Two, SessionClient Alone)> CreateAsync()
    {
        const string Options = """{"name":"s","num_features":3}""";
        var one = await _one.CreateAsync(Options);
        return (one, new SessionClient(_two.Client, one.Name), await _alone.CreateAsync(Options));
    }

    // The same step for some of them; what is returned brings the state after it back.
    private async Task<Func<Task>> TrainAsync(Batch x, params SessionClient[] sessions)
    {
        foreach (var session in sessions) (await session.TrainAsync(x)).Expect(200);
        return await _store.BackUpAsync("s");
    }
}
