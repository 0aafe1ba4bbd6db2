namespace BnService.Api.Tests.Synchronized;

/// <summary>The last rank comes at the very moment at which the others give up: then all are told the same.</summary>
public sealed class TogetherOrNotTests
{
    private static readonly Batch X = Batch.Random(1, 12, 3);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Either_all_ranks_have_made_a_step_or_none_has(bool onTwoNodes)
    {
        var storage = new SharedStorage();
        var timeout = ("Sync:Timeout", "00:00:00.030");
        using var one = onTwoNodes ? Service.Node("one", storage, timeout) : Service.With(timeout);
        using var other = onTwoNodes ? Service.Node("other", storage, timeout) : null;
        var session = await one.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session.Name, "g", one.Client, (other ?? one).Client, one.Client, (other ?? one).Client);
        var (made, delay) = (0, 30.0);
        for (var round = 0; round < 120; round++)
        {
            var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(async rank =>
            {
                // Drawn towards the moment where it is undecided, wherever that is on this machine.
                if (rank == 3) await Task.Delay(TimeSpan.FromMilliseconds(delay));
                return await group.TrainAsync(rank, X.Rows(3 * rank, 3));
            }));
            var statuses = answers.Select(answer => answer.Status).Distinct().ToList();
            Assert.True(statuses is [200] or [504], $"round {round}: {string.Join(", ", answers.Select(answer => answer.Status))}");
            var isMade = statuses[0] == 200;
            foreach (var answer in answers)
            {
                if (isMade) Assert.Equal((made + 2, 12), (answer.Version, answer["count"].GetInt32()));
                else answer.ExpectProblem("sync-timeout");
            }
            made += isMade ? 1 : 0;
            delay = Math.Clamp(delay + (isMade ? 1 : -1), 1, 100);
        }
        var resource = await session.GetAsync();
        Assert.Equal((made + 1, made), (resource.Version, resource["num_batches_tracked"].GetInt32()));
    }

    /// <summary>The failure is being written: what the last rank would complete is over.</summary>
    [Fact]
    public async Task A_rank_that_comes_while_the_end_of_the_step_is_being_written_is_too_late_like_all()
    {
        var (storage, time) = (new SharedStorage(), new ManualTime());
        using var service = Service.Node("one", storage, time);
        var session = await service.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session, service.Client, 2);
        Task<Answer>? last = null;
        storage.Sessions.BeforeNextUpdate = async () =>
        {
            last = group.TrainAsync(1, X.Rows(3, 3));
            await Eventually.EqualAsync(2, () => storage.WaitingRanks);
            await Task.Delay(20); // long enough for it to try
        };
        (await time.PassAsync(group.TrainAsync(0, X.Rows(0, 3)))).ExpectProblem("sync-timeout", "rank 1");
        (await time.PassAsync(last!)).ExpectProblem("sync-timeout", "rank 0");
        Assert.Equal(1, (await session.GetAsync()).Version);
        Assert.Equal(0, storage.WaitingRanks);
    }

    /// <summary>The step is being written: whose patience ends meanwhile has it all the same.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_rank_whose_time_is_over_while_the_step_is_being_written_gets_it(bool onTwoNodes)
    {
        var (storage, time) = (new SharedStorage(), new ManualTime());
        using var one = Service.Node("one", storage, time);
        using var other = Service.Node("other", storage, time);
        var session = await one.CreateAsync("""{"num_features":3}""");
        var group = new RankGroup(session.Name, "g", one.Client, (onTwoNodes ? other : one).Client);
        var first = group.TrainAsync(0, X.Rows(0, 3));
        await Eventually.EqualAsync(1, () => storage.WaitingRanks);
        storage.Sessions.AfterNextUpdate = async () =>
        {
            time.AdvanceBy(TimeSpan.FromMinutes(1));
            await Task.Delay(20);
        };
        var answers = await time.PassAsync(Task.WhenAll(first, group.TrainAsync(1, X.Rows(3, 3))));
        foreach (var answer in answers) Assert.Equal((2, 6), (answer.Expect(200).Version, answer["count"].GetInt32()));
    }
}
