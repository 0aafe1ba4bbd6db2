using BnService.Api.Storage;

namespace BnService.Api.Tests.Synchronized;

/// <summary>Many steps, of one group and of several.</summary>
public sealed class StepsTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task Steps_follow_each_other_and_everybody_sees_the_same_ones()
    {
        var (session, group) = await BeginAsync("""{"num_features":3}""", 3);
        var layer = new ReferenceLayer(3);
        for (var step = 0; step < 40; step++)
        {
            var x = Batch.Random(step, 9, 3);
            // Another rank comes first each time.
            var answers = await group.AllAsync(200, i => group.TrainAsync((i + step) % 3, x.Rows((i + step) % 3 * 3, 3)));
            layer.Train(x);
            foreach (var answer in answers) Assert.Equal((step + 2, step + 1), (answer.Version, answer["num_batches_tracked"].GetInt32()));
        }
        Accuracy.Running_statistics_are(layer.Running, Batch.Random(0, 9, 3), await session.StatsAsync());
        Assert.Equal(40, (await session.HistoryAsync("?limit=100"))["steps"].GetArrayLength());
    }

    /// <summary>Ranks go on as soon as they have their own answer, at a pace of their own.</summary>
    [Theory]
    [InlineData(2000, 1)]
    [InlineData(300, 3)]
    public async Task Ranks_of_any_pace_make_exactly_the_steps_of_one_process(int steps, int groups)
    {
        const int ranks = 4;
        var session = await service.CreateAsync("""{"num_features":3,"momentum":null}""");
        // Whole groups come in any order, so that only an average tells the same of all of them.
        var batches = Enumerable.Range(0, steps).Select(step => Batch.Random(step, 7, 3)).ToList();
        int[] first = [0, 2, 2, 3, 7];
        await Task.WhenAll(Enumerable.Range(0, groups * ranks).Select(caller => Task.Run(async () =>
        {
            var (random, rank) = (new Random(caller), caller % ranks);
            var group = new RankGroup(session, service.Client, ranks, $"g{caller / ranks}");
            for (var step = caller / ranks; step < steps; step += groups)
            {
                if (random.Next(8) == 0) await Task.Delay(random.Next(4));
                var answer = (await group.TrainAsync(rank, batches[step].Rows(first[rank], first[rank + 1] - first[rank]))).Expect(200);
                Assert.Equal(7, answer["count"].GetInt32());
                if (groups == 1) Assert.Equal((step + 2, step + 1), (answer.Version, answer["num_batches_tracked"].GetInt32()));
            }
        })));
        var layer = new ReferenceLayer(3) { Momentum = null };
        foreach (var batch in batches) layer.Train(batch);
        var stats = await session.StatsAsync();
        Assert.Equal((steps + 1, steps), (stats.Version, stats["num_batches_tracked"].GetInt32()));
        Accuracy.Running_statistics_are(layer.Running, batches[0], stats);
        Assert.Equal((0, 0), (service.WaitingRanks, service.WaitingCalls));
    }

    [Fact]
    public async Task Groups_of_one_session_do_not_wait_for_each_other()
    {
        var (session, one) = await BeginAsync("""{"num_features":3}""", 2);
        var other = new RankGroup(session, service.Client, 3, "other");
        var x = Batch.Random(1, 4, 3);
        var waiting = one.TrainAsync(0, x);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        for (var step = 0; step < 5; step++)
            Assert.All(await other.AllAsync(200, rank => other.TrainAsync(rank, x)), answer => Assert.Equal((step + 2, 12), (answer.Version, answer["count"].GetInt32())));
        Assert.False(waiting.IsCompleted);
        // Neither do calls: a backward of the same group is another step.
        await one.AllAsync(200, rank => one.BackwardAsync(rank, $$"""{"x":{{x.Json}},"dy":{{x.Json}}}"""));
        (await one.TrainAsync(1, x)).Expect(200);
        Assert.Equal((7, 8), ((await waiting).Expect(200).Version, (await waiting)["count"].GetInt32()));
    }

    /// <summary>Of all groups of a session together only so many outcomes are kept.</summary>
    [Fact]
    public async Task A_slow_group_makes_its_steps_among_those_of_ever_new_groups()
    {
        var (session, slow) = await BeginAsync("""{"num_features":3}""", 2);
        var x = Batch.Random(1, 4, 3);
        var repeated = ("Idempotency-Key", "of-a-rank");
        var version = 1;
        for (var step = 0; step < 2; step++)
        {
            var waiting = slow.TrainAsync(0, x, headers: step == 0 ? [] : [repeated]);
            await Eventually.EqualAsync(1, () => service.WaitingRanks);
            for (var i = 0; i < StoredAnswer.KeptOfGroups + 10; i++, version++)
                (await new RankGroup(session, service.Client, 1, $"new-{step}-{i}").TrainAsync(0, x)).Expect(200);
            Assert.False(waiting.IsCompleted);
            (await slow.TrainAsync(1, x)).Expect(200);
            Assert.Equal((++version, 8), ((await waiting).Expect(200).Version, (await waiting)["count"].GetInt32()));
        }
        // What a rank has named is answered as it was, whatever has become of the outcomes.
        for (var i = 0; i < StoredAnswer.KeptOfGroups + 10; i++)
            (await new RankGroup(session, service.Client, 1, $"last-{i}").TrainAsync(0, x)).Expect(200);
        Assert.Equal(version, (await slow.TrainAsync(0, x, headers: repeated)).Expect(200).Version);
        Assert.Equal((0, 0), (service.WaitingRanks, service.WaitingCalls));
    }

    [Fact]
    public async Task Groups_of_the_same_name_in_two_sessions_are_two_groups()
    {
        var ((session, one), (_, other)) = (await BeginAsync("""{"num_features":3}""", 2), await BeginAsync("""{"num_features":3}""", 2));
        var x = Batch.Random(1, 4, 3);
        var answers = await Task.WhenAll(one.TrainAsync(0, x), other.TrainAsync(1, x), one.TrainAsync(1, x), other.TrainAsync(0, x));
        Assert.All(answers, answer => Assert.Equal((2, 8), (answer.Expect(200).Version, answer["count"].GetInt32())));
        Assert.Equal(2, (await session.GetAsync()).Version);
    }

    /// <summary>A session may be called by its name or its id, and is the same.</summary>
    [Fact]
    public async Task Ranks_may_name_the_session_differently()
    {
        var (session, one) = await BeginAsync("""{"num_features":3,"name":"two-names"}""", 2);
        var other = new RankGroup((await session.GetAsync())["id"].GetString()!, "g", service.Client, service.Client);
        var x = Batch.Random(1, 4, 3);
        Assert.All(await Task.WhenAll(one.TrainAsync(0, x), other.TrainAsync(1, x)), answer => Assert.Equal(8, answer.Expect(200)["count"].GetInt32()));
    }

    /// <summary>Steps of other callers lie between a rank's arrival and the step.</summary>
    [Fact]
    public async Task A_step_starts_from_the_state_of_the_moment_in_which_all_are_there()
    {
        var (session, group) = await BeginAsync("""{"num_features":3,"momentum":0.5,"kind":"batch_renorm","renorm":{"r_max":1.5,"d_max":0.5,"warmup_steps":0}}""", 2);
        var (x, between) = (Batch.Random(1, 8, 3), Batch.Random(2, 5, 3));
        var waiting = group.TrainAsync(0, x.Rows(0, 4));
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        (await session.TrainAsync(between)).Expect(200);
        (await session.PutParametersAsync("""{"gamma":[2,-1,0.5],"beta":[1,0,-1]}""")).Expect(200);
        (await session.PatchAsync("""{"eps":0.25,"momentum":0.75}""")).Expect(200);
        var last = (await group.TrainAsync(1, x.Rows(4, 4))).Expect(200);

        var whole = await service.CreateAsync("""{"num_features":3,"momentum":0.5,"kind":"batch_renorm","renorm":{"r_max":1.5,"d_max":0.5,"warmup_steps":0}}""");
        (await whole.TrainAsync(between)).Expect(200);
        (await whole.PutParametersAsync("""{"gamma":[2,-1,0.5],"beta":[1,0,-1]}""")).Expect(200);
        (await whole.PatchAsync("""{"eps":0.25,"momentum":0.75}""")).Expect(200);
        var single = (await whole.TrainAsync(x)).Expect(200);
        var (before, after) = (await waiting, await whole.StatsAsync());
        Assert.Equal((5, 5), (before.Expect(200).Version, last.Version));
        var y = Batch.Joined([before.Tensor("y"), last.Tensor("y")]);
        // Eight values are summed the same way in one part and in two but for the last bits of a double.
        for (var i = 0; i < y.Data.Length; i++) Assert.Equal(single.Tensor("y").Data[i], y.Data[i], 1e-6);
        var stats = await session.StatsAsync();
        Accuracy.Doubles_are(after.Numbers("running_var"), stats.Numbers("running_var"), "running_var");
    }

    /// <summary>The parameters move while the ranks of a backward through x come: all of them go through the same ones.</summary>
    [Theory]
    [InlineData("none")]
    [InlineData("relu")]
    public async Task Gradients_of_all_ranks_go_through_the_same_state(string activation)
    {
        var options = $$"""{"num_features":3,"kind":"batch_renorm","activation":"{{activation}}","renorm":{"r_max":2,"d_max":1,"warmup_steps":0} }""";
        var (session, group) = await BeginAsync(options, 2);
        var (x, dy) = (Batch.Random(1, 8, 3), Batch.Random(2, 8, 3));
        string Body(int rank) => $$"""{"x":{{x.Rows(4 * rank, 4).Json}},"dy":{{dy.Rows(4 * rank, 4).Json}}}""";
        var waiting = group.BackwardAsync(0, Body(0));
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        (await session.TrainAsync(Batch.Random(3, 5, 3))).Expect(200);
        (await session.PutParametersAsync("""{"gamma":[2,-1,0.5],"beta":[1,0,-1]}""")).Expect(200);
        (await session.PatchAsync("""{"eps":0.25}""")).Expect(200);
        var last = (await group.BackwardAsync(1, Body(1))).Expect(200);
        var single = (await session.BackwardAsync(x, dy)).Expect(200);
        var expected = new ReferenceGradients([.. single.Tensor("dx").Data.Select(value => (double)value)], [], []);
        Accuracy.Input_gradient_is(expected, x, Batch.Joined([(await waiting).Expect(200).Tensor("dx"), last.Tensor("dx")]));
        Accuracy.Vector_is(single.Numbers("dgamma"), [.. (await waiting).Numbers("dgamma").Zip(last.Numbers("dgamma"), (a, b) => a + b)], "dgamma");
    }

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync(string options, int size)
    {
        var session = await service.CreateAsync(options);
        return (session, new(session, service.Client, size));
    }
}
