namespace BnService.Api.Tests.Concurrency;

/// <summary>Races that one call wins, and deletion in the middle of everything.</summary>
public sealed class SessionRaceTests(Service service) : IClassFixture<Service>
{
    private const int Calls = 64;

    public static TheoryData<string> Changes => new("train-step", "backward", "patch", "reset", "parameters", "running-stats");

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task Of_64_changes_that_expect_the_same_version_one_is_made(string change)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answers = await AtOnceAsync(i => change switch
        {
            "train-step" => session.TrainAsync($$"""{"x":[[1,{{i}}],[3,4]]}""", ("If-Match", "\"1\"")),
            "backward" => session.BackwardAsync("""{"x":[[1,2],[3,5]],"dy":[[1,0],[0,1]],"update":{"optimizer":"sgd"}}""", ("If-Match", "\"1\"")),
            "patch" => session.PatchAsync($$"""{"labels":{"winner":"{{i}}"} }""", ("If-Match", "\"1\"")),
            "reset" => session.ResetAsync(null, ("If-Match", "\"1\"")),
            "parameters" => session.PutParametersAsync($$"""{"gamma":[{{i}},1]}""", ("If-Match", "\"1\"")),
            _ => session.PutRunningStatsAsync($$"""{"running_mean":[{{i}},1]}""", ("If-Match", "\"1\"")),
        });
        var winner = Assert.Single(answers, answer => answer.Status == 200);
        Assert.Equal(2, winner.Version);
        foreach (var answer in answers.Where(answer => answer != winner)) answer.ExpectProblem("version-conflict");
        var stats = await session.StatsAsync();
        Assert.Equal(2, stats.Version);
        // What is there is what the winner was told.
        if (change == "train-step") Assert.Equal(winner.Numbers("batch_mean"), stats["last_batch"].GetProperty("mean").EnumerateArray().Select(Answer.Number));
        if (change == "patch") Assert.Equal(winner.Text, (await session.GetAsync()).Text);
        if (change == "parameters") stats.ExpectNumbers("gamma", winner.Numbers("gamma"));
        if (change == "running-stats") stats.ExpectNumbers("running_mean", winner.Numbers("running_mean"));
    }

    [Fact]
    public async Task Of_64_sessions_with_one_name_one_is_created()
    {
        var answers = await AtOnceAsync(i => service.Client.PostAsync("/v1/sessions", $$"""{"name":"raced","num_features":{{i + 1}}}"""));
        var winner = Assert.Single(answers, answer => answer.Status == 201);
        foreach (var answer in answers.Where(answer => answer != winner)) answer.ExpectProblem("session-exists");
        Assert.Equal(winner.Text, (await service.Client.GetAsync("/v1/sessions/raced")).Text);
        Assert.Single((await service.Client.GetAsync("/v1/sessions?prefix=raced"))["sessions"].EnumerateArray());
    }

    [Fact]
    public async Task Of_64_deletions_one_deletes()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answers = await AtOnceAsync(_ => session.DeleteAsync());
        Assert.Single(answers, answer => answer.Status == 204);
        foreach (var answer in answers.Where(answer => answer.Status != 204)) answer.ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task Calls_on_a_session_that_is_deleted_meanwhile_are_done_or_find_no_session()
    {
        for (var round = 0; round < 10; round++)
        {
            var session = await service.CreateAsync("""{"num_features":2}""");
            var x = Batch.Random(round, 32, 2);
            var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
            var answers = await AtOnceAsync(i => i == Calls / 2 ? session.DeleteAsync() : (i % 5) switch
            {
                0 => session.TrainAsync(x, retain: true),
                1 => session.InferAsync(x),
                2 => session.BackwardAsync(step, x, """{"optimizer":"adam"}"""),
                3 => session.PatchAsync($$"""{"labels":{"i":"{{i}}"} }"""),
                _ => session.StatsAsync(),
            });
            Assert.Equal(204, answers[Calls / 2].Status);
            foreach (var answer in answers)
            {
                if (answer.Status >= 400) Assert.Contains(answer["code"].GetString(), (string[])["session-not-found", "step-expired"]);
            }
            (await session.TrainAsync(x)).ExpectProblem("session-not-found");
            (await session.GetAsync()).ExpectProblem("session-not-found");
        }
    }

    /// <summary>A name that is used again and again by sessions of different sizes: no call ever sees half of one and half of another.</summary>
    [Fact]
    public async Task A_name_that_changes_hands_always_leads_to_one_whole_session()
    {
        using var stop = new CancellationTokenSource();
        var replacing = Task.Run(async () =>
        {
            for (var i = 0; i < 150; i++)
            {
                (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"changing","num_features":{{(i % 3) + 2}}}""")).Expect(201);
                await Task.Yield();
                (await service.Client.DeleteAsync("/v1/sessions/changing")).Expect(204);
            }
            await stop.CancelAsync();
        });
        var session = new SessionClient(service.Client, "changing");
        var readers = Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                var stats = await session.StatsAsync();
                if (stats.Status == 404) continue;
                var lengths = new[] { "gamma", "beta", "running_mean", "running_var" }.Select(field => stats.Expect(200).Numbers(field).Length);
                Assert.Single(lengths.Distinct());
            }
        }));
        await Task.WhenAll([replacing, .. readers]);
        (await session.GetAsync()).ExpectProblem("session-not-found");
        await service.CreateAsync("""{"name":"changing","num_features":9}""");
        Assert.Equal(9, (await session.StatsAsync()).Numbers("gamma").Length);
    }

    private static Task<Answer[]> AtOnceAsync(Func<int, Task<Answer>> call) =>
        Task.WhenAll(Enumerable.Range(0, Calls).Select(i => Task.Run(() => call(i))));
}
