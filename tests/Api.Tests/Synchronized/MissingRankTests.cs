namespace BnService.Api.Tests.Synchronized;

/// <summary>A step to which a rank does not come ends for all that have come, and has changed nothing.</summary>
public sealed class MissingRankTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 9, 3), Dy = Batch.Random(2, 9, 3);

    private readonly ManualTime _time = new();
    private readonly Service _service;

    public MissingRankTests() => _service = Service.At(_time, ("Sync:Timeout", "00:00:20"));

    [Fact]
    public async Task All_that_have_come_are_told_and_nothing_has_changed()
    {
        var (session, group) = await BeginAsync(3);
        (await session.TrainAsync(X)).Expect(200);
        var before = await BytesAsync(session);
        var waiting = Task.WhenAll(group.TrainAsync(0, Part(0)), group.TrainAsync(2, Part(2)));
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        foreach (var answer in await _time.PassAsync(waiting))
            answer.ExpectProblem("sync-timeout", "of the 3 ranks of group 'g' 1 did not come", "Sync:Timeout", "rank 1", "nothing has changed");
        Assert.Equal(before, await BytesAsync(session));
        Assert.Equal((0, 0L), (_service.WaitingRanks, _service.RetainedBytes));
        await WholeStepAsync(session, group, version: 3);
    }

    [Fact]
    public async Task A_rank_that_comes_after_that_waits_for_a_step_of_its_own()
    {
        var (session, group) = await BeginAsync(3);
        var first = group.TrainAsync(0, Part(0));
        await Eventually.EqualAsync(1, () => _service.WaitingRanks);
        (await _time.PassAsync(first)).ExpectProblem("sync-timeout");
        var late = Task.WhenAll(group.TrainAsync(1, Part(1)), group.TrainAsync(2, Part(2)));
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        Assert.False(late.IsCompleted);
        var again = (await group.TrainAsync(0, Part(0))).Expect(200);
        foreach (var answer in await late) Assert.Equal((2, 9), (answer.Expect(200).Version, answer["count"].GetInt32()));
        Assert.Equal(2, again.Version);
    }

    [Fact]
    public async Task The_first_rank_decides_how_long_all_wait()
    {
        var (session, group) = await BeginAsync(3);
        var first = group.TrainAsync(0, Part(0));
        await Eventually.EqualAsync(1, () => _service.WaitingRanks);
        _time.AdvanceBy(TimeSpan.FromSeconds(15));
        var second = group.TrainAsync(1, Part(1));
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        Assert.False(first.IsCompleted);
        // Long before the second one's own time is over.
        _time.AdvanceBy(TimeSpan.FromSeconds(6));
        (await first).ExpectProblem("sync-timeout", "rank 2");
        (await second).ExpectProblem("sync-timeout", "rank 2");
        await WholeStepAsync(session, group, version: 2);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Gradients_of_which_a_rank_is_missing_change_nothing(bool isThroughStep)
    {
        var (session, group) = await BeginAsync(3);
        var steps = await group.AllAsync(200, rank => group.TrainAsync(rank, Part(rank), retain: true));
        var before = await BytesAsync(session);
        string Body(int rank)
        {
            var through = isThroughStep ? $"\"step_id\":\"{steps[rank].StepId}\"" : $"\"x\":{Part(rank).Json}";
            return $$"""{ {{through}},"dy":{{Dy.Rows(3 * rank, 3).Json}},"update":{"optimizer":"sgd","learning_rate":0.5} }""";
        }
        var waiting = Task.WhenAll(group.BackwardAsync(1, Body(1)), group.BackwardAsync(2, Body(2)));
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        foreach (var answer in await _time.PassAsync(waiting)) answer.ExpectProblem("sync-timeout", "rank 0");
        Assert.Equal(before, await BytesAsync(session));
        Assert.Equal(0, _service.WaitingRanks);
        var whole = await group.AllAsync(200, rank => group.BackwardAsync(rank, Body(rank)));
        Assert.All(whole, answer => Assert.Equal(3, answer.Version));
    }

    [Fact]
    public async Task What_comes_of_a_step_does_not_depend_on_how_many_have_failed_before_it()
    {
        var (session, group) = await BeginAsync(2);
        for (var i = 0; i < 300; i++)
        {
            // More failures than answers are remembered.
            var alone = group.TrainAsync(i % 2, Part(0));
            await Eventually.EqualAsync(1, () => _service.WaitingRanks);
            _time.AdvanceBy(TimeSpan.FromSeconds(21));
            (await _time.PassAsync(alone)).ExpectProblem("sync-timeout");
        }
        Assert.Equal(1, (await session.GetAsync()).Version);
        await WholeStepAsync(session, group, version: 2);
    }

    [Fact]
    public async Task A_session_that_is_deleted_while_ranks_wait_is_not_found_by_any_of_them()
    {
        var (session, group) = await BeginAsync(3);
        var waiting = Task.WhenAll(group.TrainAsync(0, Part(0)), group.TrainAsync(1, Part(1), retain: true));
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        (await session.DeleteAsync()).Expect(204);
        foreach (var answer in await _time.PassAsync(waiting)) answer.ExpectProblem("session-not-found");
        (await group.TrainAsync(2, Part(2))).ExpectProblem("session-not-found");
        Assert.Equal((0, 0L), (_service.WaitingRanks, _service.RetainedBytes));
    }

    [Fact]
    public async Task A_session_that_is_created_again_has_nothing_of_the_ranks_that_waited_for_the_one_before_it()
    {
        var (session, group) = await BeginAsync(2);
        var waiting = group.TrainAsync(0, Part(0));
        await Eventually.EqualAsync(1, () => _service.WaitingRanks);
        (await session.DeleteAsync()).Expect(204);
        await _service.CreateAsync($$"""{"name":"{{session.Name}}","num_features":3}""");
        await WholeStepAsync(session, group, version: 2);
        (await _time.PassAsync(waiting)).ExpectProblem("session-not-found");
        Assert.Equal(2, (await session.GetAsync()).Version);
    }

    [Fact]
    public async Task A_session_that_is_frozen_while_a_rank_waits_refuses_the_step()
    {
        var (session, group) = await BeginAsync(2);
        var waiting = group.TrainAsync(0, Part(0));
        await Eventually.EqualAsync(1, () => _service.WaitingRanks);
        (await session.PatchAsync("""{"mode":"frozen"}""")).Expect(200);
        var before = await BytesAsync(session);
        (await group.TrainAsync(1, Part(1))).Expect(200); // to which there is nothing to wait for
        Assert.Contains((await _time.PassAsync(waiting)).Status, (int[])[412, 504]);
        Assert.Equal(before, await BytesAsync(session));
    }

    public void Dispose() => _service.Dispose();

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync(int size)
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        return (session, new(session, _service.Client, size));
    }

    private static async Task WholeStepAsync(SessionClient session, RankGroup group, long version)
    {
        var answers = await group.AllAsync(200, rank => group.TrainAsync(rank, Part(rank)));
        foreach (var answer in answers) Assert.Equal((version, 3 * group.Size), (answer.Version, answer["count"].GetInt32()));
        Assert.Equal(version, (await session.GetAsync()).Version);
    }

    // Everything that can be read of a session, and its whole state.
    private static async Task<string> BytesAsync(SessionClient session) => await session.StateAsync() + (await session.GetStateAsync()).Expect(200).Text;

    private static Batch Part(int rank) => X.Rows(3 * rank, 3);
}
