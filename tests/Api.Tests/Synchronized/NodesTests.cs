using BnService.Api.Storage;

namespace BnService.Api.Tests.Synchronized;

/// <summary>Ranks that call different nodes, which share what is stored and nothing else.</summary>
public sealed class NodesTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 12, 3);

    private readonly ManualTime _time = new();
    private readonly SharedStorage _storage;
    private readonly Service _one, _other;

    public NodesTests()
    {
        _storage = new SharedStorage(_time);
        (_one, _other) = (Service.Node("one", _storage), Service.Node("other", _storage));
    }

    [Theory]
    [InlineData("""{"num_features":3,"activation":"relu"}""")]
    [InlineData("""{"num_features":3,"kind":"batch_renorm","momentum":0.5,"renorm":{"r_max":2,"d_max":1,"warmup_steps":0}}""")]
    [InlineData("""{"num_features":3,"granularity":"per_activation"}""")]
    public async Task It_makes_no_difference_which_node_a_rank_calls(string options)
    {
        var session = await _one.CreateAsync(options);
        var here = await _one.CreateAsync(options);
        var (group, local) = (new RankGroup(session.Name, "g", _one.Client, _other.Client, _other.Client), new RankGroup(here, _one.Client, 3));
        const string update = """{"optimizer":"adam","learning_rate":0.1}""";
        for (var step = 1; step <= 5; step++)
        {
            var (x, dy) = (Batch.Random(step, 9, 3), Batch.Random(100 + step, 9, 3));
            var answers = await group.AllAsync(200, rank => group.TrainAsync(rank, x.Rows(3 * rank, 3), retain: true));
            var expected = await local.AllAsync(200, rank => local.TrainAsync(rank, x.Rows(3 * rank, 3), retain: true));
            for (var rank = 0; rank < 3; rank++) SameAnswer.In(expected[rank], answers[rank], "step_id");
            Assert.Equal(["one", "other", "other"], answers.Select(answer => answer.StepId!.Split(':')[0]));
            string Body(Answer[] trained, int rank) => step % 2 == 0
                ? $$"""{"x":{{x.Rows(3 * rank, 3).Json}},"dy":{{dy.Rows(3 * rank, 3).Json}},"update":{{update}}}"""
                : $$"""{"step_id":"{{trained[rank].StepId}}","dy":{{dy.Rows(3 * rank, 3).Json}},"update":{{update}}}""";
            var gradients = await group.AllAsync(200, rank => group.BackwardAsync(rank, Body(answers, rank)));
            var locally = await local.AllAsync(200, rank => local.BackwardAsync(rank, Body(expected, rank)));
            for (var rank = 0; rank < 3; rank++) Assert.Equal(locally[rank].Text, gradients[rank].Text);
        }
        Assert.Equal(11, (await new SessionClient(_other.Client, session.Name).GetAsync()).Version);
    }

    [Fact]
    public async Task Ranks_of_any_pace_on_two_nodes_make_exactly_the_steps_of_one_process()
    {
        const int steps = 150;
        var session = await _one.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session.Name, "g", _one.Client, _other.Client, _one.Client);
        await Task.WhenAll(Enumerable.Range(0, 3).Select(rank => Task.Run(async () =>
        {
            var random = new Random(rank);
            for (var step = 0; step < steps; step++)
            {
                if (random.Next(4) == 0) await Task.Delay(random.Next(6));
                var answer = (await group.TrainAsync(rank, Batch.Random(step, 9, 3).Rows(3 * rank, 3))).Expect(200);
                Assert.Equal((step + 2, 9), (answer.Version, answer["count"].GetInt32()));
            }
        })));
        var layer = new ReferenceLayer(3);
        for (var step = 0; step < steps; step++) layer.Train(Batch.Random(step, 9, 3));
        Accuracy.Running_statistics_are(layer.Running, Batch.Random(0, 9, 3), await session.StatsAsync());
        Assert.Equal((0, 0, 0), (_storage.WaitingRanks, _one.WaitingCalls, _other.WaitingCalls));
    }

    [Fact]
    public async Task A_step_is_retained_by_the_node_that_its_rank_has_called()
    {
        var (_, group) = await BeginAsync();
        var steps = await group.AllAsync(200, rank => group.TrainAsync(rank, Part(rank), retain: true));
        var swapped = new RankGroup(group.Session, "g", _other.Client, _one.Client);
        foreach (var answer in await swapped.AllAsync(rank => swapped.BackwardAsync(rank, $$"""{"step_id":"{{steps[rank].StepId}}","dy":{{Part(rank).Json}}}""")))
            answer.ExpectProblem("step-expired", "was retained by node", "resend x");
        await group.AllAsync(200, rank => group.BackwardAsync(rank, $$"""{"step_id":"{{steps[rank].StepId}}","dy":{{Part(rank).Json}}}"""));
    }

    [Fact]
    public async Task A_repetition_may_come_to_another_node()
    {
        var (session, group) = await BeginAsync();
        var elsewhere = new RankGroup(group.Session, "g", _other.Client, _one.Client);
        var first = group.TrainAsync(0, Part(0), false, ("Idempotency-Key", "k"));
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        var second = elsewhere.TrainAsync(0, Part(0), false, ("Idempotency-Key", "k"));
        await Eventually.EqualAsync(1, () => _other.WaitingCalls);
        (await group.TrainAsync(1, Part(1))).Expect(200);
        Assert.Equal((await first).Expect(200).Text, (await second).Expect(200).Text);
        var third = (await elsewhere.TrainAsync(0, Part(0), false, ("Idempotency-Key", "k"))).Expect(200);
        Assert.Equal(((await first).Text, "true"), (third.Text, third.Headers["Idempotent-Replayed"]));
        Assert.Equal(2, (await session.GetAsync()).Version);
    }

    /// <summary>The call that completes a step finds that another one has moved the state, and begins again.</summary>
    [Fact]
    public async Task A_step_that_is_stored_at_the_second_try_is_one_step()
    {
        var session = await _one.CreateAsync("""{"num_features":3}""");
        var (group, same) = (new RankGroup(session, _one.Client, 2), new SessionClient(_other.Client, session.Name));
        _storage.Sessions.BeforeNextUpdate = async () => (await same.TrainAsync(Batch.Random(5, 6, 3))).Expect(200);
        var answers = await group.AllAsync(200, rank => group.TrainAsync(rank, Part(rank)));
        Assert.All(answers, answer => Assert.Equal((3, 2), (answer.Version, answer["num_batches_tracked"].GetInt32())));
        var lines = (await session.HistoryAsync())["steps"].GetArrayLength() + (await same.HistoryAsync())["steps"].GetArrayLength();
        Assert.Equal(2, lines);
        var layer = new ReferenceLayer(3);
        layer.Train(Batch.Random(5, 6, 3));
        layer.Train(X.Rows(0, 12));
        Accuracy.Running_statistics_are(layer.Running, X, await same.StatsAsync());
    }

    [Fact]
    public async Task A_node_that_stops_takes_its_ranks_with_it()
    {
        using var service = Service.Node("third", _storage, ("Sync:Timeout", "00:00:00.500"));
        var session = await service.CreateAsync("""{"num_features":3}""");
        var stopping = Service.Node("fourth", _storage);
        var group = new RankGroup(session.Name, "g", stopping.Client, service.Client, service.Client);
        var lost = group.TrainAsync(0, Part(0));
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        stopping.Dispose();
        await Assert.ThrowsAnyAsync<Exception>(() => lost);
        var answers = await Task.WhenAll(group.TrainAsync(1, Part(0)), group.TrainAsync(2, Part(1)));
        foreach (var answer in answers) answer.ExpectProblem("sync-timeout", "rank 0");
        Assert.Equal(1, (await session.GetAsync()).Version);
    }

    [Theory]
    [InlineData(40)]
    [InlineData(-40)]
    [InlineData(3600)]
    public async Task Clocks_of_nodes_need_not_agree(int seconds)
    {
        using var another = Service.Node("third", _storage, new ShiftedTime(TimeSpan.FromSeconds(seconds)));
        var session = await _one.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session.Name, "g", _one.Client, another.Client);
        for (var step = 0; step < 4; step++)
        {
            // In both orders: each finds what the other has left, which by its own clock is old or of the future.
            var first = group.TrainAsync(step % 2, Part(step % 2));
            await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
            var second = group.TrainAsync(1 - (step % 2), Part(1 - (step % 2)));
            Assert.Equal((step + 2, step + 2), ((await first).Expect(200).Version, (await second).Expect(200).Version));
        }
    }

    /// <summary>Nobody took back what it had contributed, and nobody waits for the step.</summary>
    [Fact]
    public async Task What_a_dead_node_has_left_does_not_count_when_its_time_is_over()
    {
        using var service = Service.Node("third", _storage, _time);
        var session = await service.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session, service.Client, 2);
        await LeaveAsync(session, group, rank: 0);
        _time.AdvanceBy(TimeSpan.FromSeconds(31));
        var second = group.TrainAsync(1, Part(1));
        await Eventually.EqualAsync(1, () => service.WaitingCalls);
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        Assert.False(second.IsCompleted);
        Assert.Equal(1, (await session.GetAsync()).Version);
        (await group.TrainAsync(0, Part(0))).Expect(200);
        Assert.Equal((2, 12), ((await second).Expect(200).Version, (await second)["count"].GetInt32()));
    }

    /// <summary>The rank that finds what was left ends the step that others wait for, and takes no part in it.</summary>
    [Fact]
    public async Task What_a_dead_node_has_left_ends_the_step_of_those_who_wait_for_more()
    {
        using var service = Service.Node("third", _storage, _time);
        var session = await service.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session, service.Client, 3);
        await LeaveAsync(session, group, rank: 0);
        _time.AdvanceBy(TimeSpan.FromSeconds(20));
        var second = group.TrainAsync(1, Part(1));
        await Eventually.EqualAsync(2, () => _storage.WaitingRanks);
        _time.AdvanceBy(TimeSpan.FromSeconds(11));
        var third = group.TrainAsync(2, Part(1));
        (await second).ExpectProblem("sync-timeout", "of the 3 ranks", "1 did not come", "rank 0");
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        Assert.False(third.IsCompleted);
        await Task.WhenAll(group.TrainAsync(0, Part(0)), group.TrainAsync(1, Part(1)));
        Assert.Equal((2, 18), ((await third).Expect(200).Version, (await third)["count"].GetInt32()));
    }

    [Fact]
    public async Task A_rank_whose_node_has_died_may_come_again_when_its_time_is_over()
    {
        using var service = Service.Node("third", _storage, _time);
        var session = await service.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session, service.Client, 2);
        var (id, _) = await LeaveAsync(session, group, rank: 0);
        (await group.TrainAsync(0, Part(0))).ExpectProblem("invalid-option", "rank 0");
        _time.AdvanceBy(TimeSpan.FromSeconds(31));
        var again = group.TrainAsync(0, Part(0));
        // Who stands in the step when it is ended is told so: the other rank comes to the next one.
        await Eventually.EqualAsync(1, () => _storage.Contributions.FindAsync(id, "train-step g", 2, default).AsTask().GetAwaiter().GetResult().Count);
        (await group.TrainAsync(1, Part(1))).Expect(200);
        (await again).Expect(200);
    }

    /// <summary>All ranks were there, and the node that saw it died before it could make the step: the others look again.</summary>
    [Fact]
    public async Task A_step_that_its_last_rank_could_not_complete_is_completed_by_another()
    {
        var (session, group) = await BeginAsync();
        var key = ("Idempotency-Key", "k");
        var content = await LeaveAsync(session, group, rank: 1, key);
        await _storage.Contributions.RemoveAsync(content.Id, "train-step g", 1, 1, content.Left.Nonce, default);
        var first = group.TrainAsync(0, Part(0));
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        await _storage.Contributions.AddAsync(content.Id, "train-step g", 1, content.Left, default);
        Assert.Equal((2, 12), ((await first).Expect(200).Version, (await first)["count"].GetInt32()));
        // The client of the node that died asks again, and finds what it has taken part in.
        var again = (await new RankGroup(group.Session, "g", _one.Client, _one.Client).TrainAsync(1, Part(1), false, key)).Expect(200);
        Assert.Equal(("true", 2), (again.Headers["Idempotent-Replayed"], again.Version));
        Assert.Equal(2, (await session.GetAsync()).Version);
    }

    [Fact]
    public async Task A_session_that_is_deleted_on_another_node_is_not_found_by_those_who_wait()
    {
        var (session, group) = await BeginAsync();
        var waiting = group.TrainAsync(1, Part(1));
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        (await session.DeleteAsync()).Expect(204);
        (await waiting).ExpectProblem("session-not-found");
        Assert.Equal(0, _storage.WaitingRanks);
    }

    public void Dispose()
    {
        _one.Dispose();
        _other.Dispose();
    }

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync()
    {
        var session = await _one.CreateAsync("""{"num_features":3}""");
        return (session, new(session.Name, "g", _one.Client, _other.Client));
    }

    // What a rank has contributed stays, although its call is gone.
    private async Task<(string Id, StoredContribution Left)> LeaveAsync(SessionClient session, RankGroup group, int rank, params (string, string)[] headers)
    {
        using var hangUp = new CancellationTokenSource();
        var id = (await session.GetAsync())["id"].GetString()!;
        var call = group.PostAsync("train-step", rank, RankGroup.TrainBody(Part(rank)), hangUp.Token, headers);
        await Eventually.EqualAsync(1, () => _storage.WaitingRanks);
        var left = Assert.Single(await _storage.Contributions.FindAsync(id, "train-step g", 1, default));
        await hangUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
        await Eventually.EqualAsync(0, () => _storage.WaitingRanks);
        await _storage.Contributions.AddAsync(id, "train-step g", 1, left, default);
        return (id, left);
    }

    private static Batch Part(int rank) => X.Rows(6 * rank, 6);
}
