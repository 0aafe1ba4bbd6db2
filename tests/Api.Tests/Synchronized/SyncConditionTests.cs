namespace BnService.Api.Tests.Synchronized;

/// <summary>Ranks whose parts, updates, steps or conditions do not go together.</summary>
public sealed class SyncConditionTests(Service service) : IClassFixture<Service>
{
    private const string X = """{"x":[[1,2],[3,5]],"retain":false}""", Dy = """{"x":[[1,2],[3,5]],"dy":[[1,0],[0,1]]}""";

    [Fact]
    public async Task Parts_of_another_number_of_statistics_are_refused_for_all()
    {
        var session = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation"}""");
        var group = new RankGroup(session, service.Client, 2);
        var before = await session.StateAsync();
        var bodies = new[] { Batch.Random(1, 4, 2, 3), Batch.Random(1, 4, 2, 4) };
        foreach (var answer in await group.AllAsync(rank => group.TrainAsync(rank, bodies[rank]))) answer.ExpectProblem("shape-mismatch", "number of statistics");
        Assert.Equal(before, await session.StateAsync());
        await group.AllAsync(200, rank => group.TrainAsync(rank, bodies[0]));
        // Now it is known what a sample is, so that a rank that has others is refused by itself.
        (await session.RefusedAsync(_ => group.TrainAsync(1, bodies[1]))).ExpectProblem("shape-mismatch");
    }

    [Fact]
    public async Task A_part_that_does_not_fit_the_session_is_refused_and_the_others_wait_for_the_right_one()
    {
        var (session, group) = await BeginAsync(2);
        var first = group.TrainAsync(0, X);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        (await session.RefusedAsync(_ => group.TrainAsync(1, Batch.Random(1, 4, 3)))).ExpectProblem("shape-mismatch", "expected 2 channels");
        (await session.RefusedAsync(_ => group.TrainAsync(1, """{"x":[[1,2],[3,5]],"mask":[1]}"""))).ExpectProblem("shape-mismatch", "mask");
        (await session.RefusedAsync(_ => group.TrainAsync(1, """{"x":[[1,2],[3,5]],"residual":[[1,2]]}"""))).ExpectProblem("shape-mismatch", "residual");
        (await session.RefusedAsync(_ => group.TrainAsync(1, """{"x":[[1,2],[3,"NaN"]]}"""))).ExpectProblem("non-finite-input", "element 3 is NaN");
        (await session.RefusedAsync(_ => group.TrainAsync(1, """{"x":[[1,2],["-Infinity",3]]}"""))).ExpectProblem("non-finite-input");
        Assert.Equal(1, service.WaitingRanks);
        (await group.TrainAsync(1, X)).Expect(200);
        var answer = (await first).Expect(200);
        Assert.Equal((2, 4), (answer.Version, answer["count"].GetInt32()));
    }

    [Fact]
    public async Task Where_it_is_let_through_what_is_not_a_number_reaches_all_ranks()
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        var group = new RankGroup(session, service.Client, 2);
        var answers = await group.AllAsync(200, rank => group.TrainAsync(rank, rank == 0 ? X : """{"x":[["NaN",2],[3,5]]}"""));
        foreach (var answer in answers)
        {
            Assert.Equal([double.NaN, 3.5], answer.Numbers("batch_mean"));
            Assert.All(answer.Tensor("y").Data.Where((_, i) => i % 2 == 0), y => Assert.True(float.IsNaN(y)));
            Assert.All(answer.Tensor("y").Data.Where((_, i) => i % 2 == 1), y => Assert.True(float.IsFinite(y)));
        }
    }

    [Theory]
    [InlineData("train-step", X)]
    [InlineData("backward", Dy)]
    public async Task A_condition_that_does_not_hold_is_told_to_the_rank_that_has_it(string call, string body)
    {
        var (session, group) = await BeginAsync(2);
        await group.AllAsync(200, rank => group.TrainAsync(rank, X));
        var waiting = group.PostAsync(call, 0, body, CancellationToken.None, ("If-Match", "\"2\""));
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        (await session.RefusedAsync(_ => group.PostAsync(call, 1, body, CancellationToken.None, ("If-Match", "\"1\"")))).ExpectProblem("version-conflict", "\"1\"", "\"2\"");
        (await group.PostAsync(call, 1, body, CancellationToken.None, ("If-Match", "\"1\", \"2\""))).Expect(200);
        (await waiting).Expect(200);
    }

    /// <summary>Whichever rank it is that completes the step: the condition is one on the state that the step changes.</summary>
    [Theory]
    [InlineData("train-step", X, 0)]
    [InlineData("train-step", X, 1)]
    [InlineData("backward", Dy, 0)]
    public async Task A_condition_that_held_when_the_rank_came_and_no_longer_does_ends_the_step_for_all(string call, string body, int conditional)
    {
        var (session, group) = await BeginAsync(3);
        if (call == "backward") body = $"{body[..^1]},\"mode\":\"inference\"}}";
        Task<Answer> CallAsync(int rank) => group.PostAsync(call, rank, body, CancellationToken.None, rank == conditional ? [("If-Match", "\"1\"")] : []);
        var waiting = Task.WhenAll(CallAsync(0), CallAsync(1));
        await Eventually.EqualAsync(2, () => service.WaitingRanks);
        (await session.TrainAsync(Batch.Random(1, 5, 2))).Expect(200);
        var before = await session.StateAsync();
        (await CallAsync(2)).ExpectProblem("version-conflict", "\"1\"", "\"2\"");
        foreach (var answer in await waiting) answer.ExpectProblem("version-conflict", "\"1\"", "\"2\"");
        Assert.Equal(before, await session.StateAsync());
    }

    [Theory]
    [InlineData("""{"optimizer":"sgd","learning_rate":0.1}""", """{"optimizer":"sgd","learning_rate":0.2}""")]
    [InlineData("""{"optimizer":"sgd","learning_rate":0.1}""", """{"optimizer":"adam","learning_rate":0.1}""")]
    [InlineData("""{"optimizer":"sgd","learning_rate":0.1}""", null)]
    [InlineData(null, """{"optimizer":"sgd","learning_rate":0.1}""")]
    public async Task Updates_that_differ_are_refused_for_all(string? one, string? other)
    {
        var (session, group) = await BeginAsync(2);
        var before = await session.StateAsync();
        var answers = await group.AllAsync(rank => group.BackwardAsync(rank, (rank == 0 ? one : other) is { } update ? $"{Dy[..^1]},\"update\":{update}}}" : Dy));
        foreach (var answer in answers) answer.ExpectProblem("invalid-option", "update must be the same for all ranks");
        Assert.Equal(before, await session.StateAsync());
        Assert.Equal(0, service.WaitingRanks);
    }

    [Fact]
    public async Task Equal_updates_in_other_words_are_equal()
    {
        var (_, group) = await BeginAsync(2);
        string[] updates = ["""{"optimizer":"sgd","learning_rate":0.1}""", """{"momentum":0,"learning_rate":1e-1,"optimizer":"sgd","nesterov":false}"""];
        await group.AllAsync(200, rank => group.BackwardAsync(rank, $"{Dy[..^1]},\"update\":{updates[rank]}}}"));
    }

    [Fact]
    public async Task A_step_is_differentiated_by_the_kind_of_call_that_made_it()
    {
        var (session, group) = await BeginAsync(2);
        var alone = (await session.TrainAsync(Batch.Random(1, 4, 2), retain: true)).Expect(200).StepId;
        var steps = await group.AllAsync(200, rank => group.TrainAsync(rank, Batch.Random(rank, 4, 2), retain: true));
        string Body(string? step) => $$"""{"step_id":"{{step}}","dy":{{Batch.Random(3, 4, 2).Json}}}""";
        (await session.RefusedAsync(_ => group.BackwardAsync(0, Body(alone)))).ExpectProblem("invalid-option", "step_id", "not synchronized");
        (await session.RefusedAsync(s => s.BackwardAsync(Body(steps[0].StepId)))).ExpectProblem("invalid-option", "step_id", "sync/{group}/backward");
        (await group.BackwardAsync(0, Body("nosuch"))).ExpectProblem("step-expired");
        (await group.BackwardAsync(0, $$"""{"step_id":"{{steps[0].StepId}}","dy":{{Batch.Random(3, 5, 2).Json}}}""")).ExpectProblem("shape-mismatch", "dy must have the shape of x");
        Assert.Equal(0, service.WaitingRanks);
    }

    [Fact]
    public async Task A_session_that_does_not_exist_is_not_found()
    {
        var group = new RankGroup("nosuch", "g", service.Client, service.Client);
        (await group.TrainAsync(0, X)).ExpectProblem("session-not-found");
        (await group.BackwardAsync(0, Dy)).ExpectProblem("session-not-found");
    }

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync(int size)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        return (session, new(session, service.Client, size));
    }
}
