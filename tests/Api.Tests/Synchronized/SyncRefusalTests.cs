namespace BnService.Api.Tests.Synchronized;

/// <summary>What is wrong with one rank's call is that rank's to know, what is wrong with the step is told to all, and nothing changes.</summary>
public sealed class SyncRefusalTests(Service service) : IClassFixture<Service>
{
    private const string X = """{"x":[[1,2],[3,5]],"retain":false}""", Dy = """{"x":[[1,2],[3,5]],"dy":[[1,0],[0,1]]}""";

    [Theory]
    [InlineData("world_size=2", "rank must be a whole number from 0 to world_size - 1 in the query, got none")]
    [InlineData("rank=0", "world_size must be a whole number from 1 to 1024 in the query, got none")]
    [InlineData("rank=2&world_size=2", "rank must be a whole number from 0 to 1, got '2'")]
    [InlineData("rank=-1&world_size=2", "rank must be a whole number from 0 to 1, got '-1'")]
    [InlineData("rank=&world_size=2", "rank must be")]
    [InlineData("rank=a&world_size=2", "rank must be a whole number from 0 to 1, got 'a'")]
    [InlineData("rank=0.0&world_size=2", "rank must be")]
    [InlineData("rank=0&rank=1&world_size=2", "rank must be")]
    [InlineData("rank=99999999999999999999&world_size=2", "rank must be")]
    [InlineData("rank=1024&world_size=1024", "rank must be a whole number from 0 to 1023, got '1024'")]
    [InlineData("rank=0&world_size=0", "world_size must be a whole number from 1 to 1024, got '0'")]
    [InlineData("rank=0&world_size=1025", "world_size must be a whole number from 1 to 1024, got '1025'")]
    [InlineData("rank=0&world_size=-2", "world_size must be")]
    [InlineData("rank=0&world_size=two", "world_size must be a whole number from 1 to 1024, got 'two'")]
    [InlineData("rank=0&world_size=", "world_size must be")]
    [InlineData("", "world_size must be")]
    public async Task Ranks_that_cannot_be_are_refused(string query, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        foreach (var (call, body) in new[] { ("train-step", X), ("backward", Dy) })
        {
            (await session.RefusedAsync(s => service.Client.PostAsync($"{s.Path}/sync/g/{call}?{query}", body))).ExpectProblem("invalid-option", detail);
            var array = Message.Of(Batch.Random(1, 2, 2)).Body(Forms.Npy);
            (await service.Client.PostAsync($"{session.Path}/sync/g/{call}?{query}&step_id=a&retain=false", Forms.Npy, array)).ExpectProblem("invalid-option");
        }
        Assert.Equal(0, service.WaitingRanks);
    }

    [Theory]
    [InlineData(".g")]
    [InlineData("-g")]
    [InlineData("a%20b")]
    [InlineData("a%2Fb")]
    [InlineData("%C3%BC")]
    [InlineData("a%0Ab")]
    [InlineData("g", 129)]
    public async Task Groups_that_have_no_proper_name_are_refused(string group, int times = 1)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        group = string.Concat(Enumerable.Repeat(group, times));
        foreach (var (call, body) in new[] { ("train-step", X), ("backward", Dy) })
        {
            (await session.RefusedAsync(s => service.Client.PostAsync($"{s.Path}/sync/{group}/{call}?rank=0&world_size=1", body)))
                .ExpectProblem("invalid-option", "group");
        }
    }

    [Fact]
    public async Task The_longest_name_of_a_group_and_the_largest_world_are_allowed()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var group = new RankGroup(session, service.Client, 1024, new string('g', 128));
        using var hangUp = new CancellationTokenSource();
        var waiting = group.PostAsync("train-step", 1023, X, hangUp.Token);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        await hangUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        await Eventually.EqualAsync(0, () => service.WaitingRanks);
    }

    [Theory]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2]}""", "layer_norm")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2]}""", "rms_norm")]
    [InlineData("""{"kind":"group_norm","num_features":2,"num_groups":1}""", "group_norm")]
    [InlineData("""{"kind":"instance_norm","num_features":2}""", "instance_norm")]
    [InlineData("""{"kind":"instance_norm","num_features":2,"track_running_stats":true}""", "instance_norm")]
    [InlineData("""{"num_features":2,"ghost_batch_size":2}""", "ghost")]
    public async Task What_is_not_normalized_over_the_batch_has_nothing_to_synchronize(string options, string detail)
    {
        var session = await service.CreateAsync(options);
        var (x, dy) = (Batch.Random(1, 4, 2, 3).Json, Batch.Random(2, 4, 2, 3).Json);
        if (!options.Contains("num_features", StringComparison.Ordinal)) (x, dy) = (Batch.Random(1, 4, 2).Json, Batch.Random(2, 4, 2).Json);
        foreach (var rank in (int[])[0, 1])
        {
            var group = new RankGroup(session, service.Client, 2);
            (await session.RefusedAsync(_ => group.TrainAsync(rank, $$"""{"x":{{x}}}"""))).ExpectProblem("invalid-option", detail);
            (await session.RefusedAsync(_ => group.BackwardAsync(rank, $$"""{"x":{{x}},"dy":{{dy}}}"""))).ExpectProblem("invalid-option", detail);
        }
        Assert.Equal(0, service.WaitingRanks);
    }

    [Fact]
    public async Task A_rank_that_comes_twice_without_a_key_is_refused_and_the_first_call_goes_on()
    {
        var (session, group) = await BeginAsync(2);
        var first = group.TrainAsync(0, X);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        for (var i = 0; i < 3; i++) (await session.RefusedAsync(_ => group.TrainAsync(0, X))).ExpectProblem("invalid-option", "rank 0", "'g'", "Idempotency-Key");
        (await group.TrainAsync(0, X, ("Idempotency-Key", "k"))).ExpectProblem("invalid-option", "rank 0");
        (await group.TrainAsync(1, X)).Expect(200);
        var answer = (await first).Expect(200);
        Assert.Equal((2, 4), (answer.Version, answer["count"].GetInt32()));
    }

    [Fact]
    public async Task A_rank_that_counts_differently_is_refused_and_the_others_go_on()
    {
        var (session, group) = await BeginAsync(2);
        var (three, four) = (new RankGroup(session, service.Client, 3), new RankGroup(session, service.Client, 4));
        var first = group.TrainAsync(0, X);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        (await session.RefusedAsync(_ => three.TrainAsync(1, X))).ExpectProblem("invalid-option", "world_size", "rank 0 says 2, rank 1 says 3");
        (await session.RefusedAsync(_ => four.TrainAsync(3, X))).ExpectProblem("invalid-option", "world_size", "rank 0 says 2, rank 3 says 4");
        Assert.Equal(1, service.WaitingRanks);
        (await group.TrainAsync(1, X)).Expect(200);
        Assert.Equal(4, (await first).Expect(200)["count"].GetInt32());
    }

    /// <summary>Both see each other; what must not be is that one of them is counted and refused.</summary>
    [Fact]
    public async Task Ranks_that_count_differently_never_make_a_step_together()
    {
        using var own = Service.With(("Sync:Timeout", "00:00:00.050"));
        var session = await own.CreateAsync("""{"num_features":2}""");
        var (two, three) = (new RankGroup(session, own.Client, 2), new RankGroup(session, own.Client, 3));
        for (var i = 0; i < 100; i++)
        {
            var answers = await Task.WhenAll(two.TrainAsync(0, X), three.TrainAsync(1 + (i % 2), X));
            Assert.All(answers, answer => Assert.Contains(answer.Status, (int[])[422, 504]));
        }
        Assert.Equal(1, (await session.GetAsync()).Version);
    }

    [Theory]
    [InlineData("[[1,2]]", """{"shape":[0,2],"data":[]}""")]
    [InlineData("""{"shape":[0,2],"data":[]}""", "[[1,2]]")]
    public async Task One_value_per_channel_over_all_ranks_is_too_few_for_all(string one, string other)
    {
        var (session, group) = await BeginAsync(2);
        var (before, retained) = (await session.StateAsync(), service.RetainedBytes);
        var answers = await group.AllAsync(rank => group.TrainAsync(rank, $$"""{"x":{{(rank == 0 ? one : other)}}}"""));
        foreach (var answer in answers) answer.ExpectProblem("batch-too-small", "expected more than 1 value per channel when training");
        answers = await group.AllAsync(rank => group.BackwardAsync(rank, $$"""{"x":{{(rank == 0 ? one : other)}},"dy":{{(rank == 0 ? one : other)}}}"""));
        foreach (var answer in answers) answer.ExpectProblem("batch-too-small");
        Assert.Equal(before, await session.StateAsync());
        Assert.Equal((0, retained), (service.WaitingRanks, service.RetainedBytes));
    }

    [Fact]
    public async Task A_mask_that_leaves_nothing_on_any_rank_is_too_little_for_all()
    {
        var (session, group) = await BeginAsync(2);
        var before = await session.StateAsync();
        foreach (var answer in await group.AllAsync(rank => group.TrainAsync(rank, """{"x":[[1,2],[3,5]],"mask":[0,0]}"""))) answer.ExpectProblem("batch-too-small");
        Assert.Equal(before, await session.StateAsync());
    }

    [Fact]
    public async Task Empty_parts_alone_move_nothing()
    {
        var (session, group) = await BeginAsync(2);
        var before = await session.StateAsync();
        const string empty = """{"shape":[0,2],"data":[]}""", update = """{"optimizer":"sgd","learning_rate":0.1,"weight_decay":0.5}""";
        foreach (var answer in await group.AllAsync(200, rank => group.TrainAsync(rank, $$"""{"x":{{empty}}}""")))
            Assert.Equal((0, 0, 1), (answer["count"].GetInt32(), answer["num_batches_tracked"].GetInt32(), answer.Version));
        foreach (var mode in (string[])["train", "inference"])
        {
            var answers = await group.AllAsync(200, rank =>
                group.BackwardAsync(rank, $$"""{"x":{{empty}},"dy":{{empty}},"mode":"{{mode}}","update":{{update}}}"""));
            Assert.All(answers, answer => Assert.Equal(1, answer.Version));
        }
        Assert.Equal(before, await session.StateAsync());
    }

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync(int size)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        return (session, new(session, service.Client, size));
    }
}
