namespace BnService.Api.Tests.Synchronized;

/// <summary>Ranks that go away, and what is left of steps: nothing.</summary>
[Collection(WholeProcess.Name)]
public sealed class SyncHangUpTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 512, 64);

    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Service _service = Service.OnKestrel();

    [Theory]
    [InlineData("train-step", false)]
    [InlineData("train-step", true)]
    [InlineData("backward", false)]
    public async Task A_rank_that_hangs_up_while_it_waits_is_not_counted_and_may_come_again(string call, bool retain)
    {
        var (session, group) = await BeginAsync(3);
        var body = call == "backward" ? $$"""{"x":{{X.Json}},"dy":{{X.Json}}}""" : RankGroup.TrainBody(X, retain);
        var before = await session.StateAsync();
        for (var i = 0; i < 4; i++)
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", group.Path(call, 0), ("Content-Type", Forms.Json), ("Content-Length", $"{body.Length}"));
            await connection.WriteAsync(body);
            await Eventually.EqualAsync(1, () => _service.WaitingRanks);
            connection.Abort();
            await Eventually.TrueAsync(() => _service.HasNoSteps, "something is left of the step");
            await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        }
        Assert.Equal(before, await session.StateAsync());
        var answers = await group.AllAsync(200, rank => group.PostAsync(call, rank, body, CancellationToken.None));
        if (call == "train-step") Assert.All(answers, answer => Assert.Equal((2, 3 * 512), (answer.Version, answer["count"].GetInt32())));
        if (!retain) await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task Those_who_stay_wait_for_a_rank_that_has_hung_up()
    {
        var (_, group) = await BeginAsync(3);
        var staying = group.TrainAsync(1, X);
        await Eventually.EqualAsync(1, () => _service.WaitingRanks);
        using var hangUp = new CancellationTokenSource();
        var leaving = group.PostAsync("train-step", 0, RankGroup.TrainBody(X), hangUp.Token);
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        await hangUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => leaving);
        await Eventually.EqualAsync(1, () => _service.WaitingRanks);
        var last = group.TrainAsync(2, X);
        await Eventually.EqualAsync(2, () => _service.WaitingRanks);
        Assert.False(staying.IsCompleted || last.IsCompleted);
        (await group.TrainAsync(0, X)).Expect(200);
        foreach (var answer in await Task.WhenAll(staying, last)) Assert.Equal(3 * 512, answer.Expect(200)["count"].GetInt32());
    }

    /// <summary>Of all that can come of a step nothing stays: neither tensors nor contributions nor waits.</summary>
    [Fact]
    public async Task Whatever_comes_of_steps_nothing_is_left_of_them()
    {
        using var service = Service.With(("Sync:Timeout", "00:00:00.100"));
        var session = await service.CreateAsync("""{"num_features":64,"activation":"relu"}""");
        var (group, other) = (new RankGroup(session, service.Client, 3), new RankGroup(session, service.Client, 4));
        string Backward(string beside) => $$"""{"x":{{X.Json}},"dy":{{X.Json}},"residual":{{X.Json}},"mask":[{{string.Join(',', Enumerable.Repeat(1, 511))}},0]{{beside}}}""";
        for (var i = 0; i < 5; i++)
        {
            await group.AllAsync(rank => group.TrainAsync(rank, X));
            await group.AllAsync(rank => group.TrainAsync(rank, X, false, ("Idempotency-Key", $"{i}-{rank}")));
            await group.AllAsync(rank => group.TrainAsync(rank, X, false, ("Idempotency-Key", $"{i}-{rank}")));
            await group.AllAsync(rank => group.BackwardAsync(rank, Backward("")));
            await group.AllAsync(rank => group.BackwardAsync(rank, Backward(",\"update\":{\"optimizer\":\"adam\"}"), ("Idempotency-Key", $"b{i}-{rank}")));
            await group.AllAsync(rank => group.BackwardAsync(rank, Backward($",\"update\":{{\"optimizer\":\"sgd\",\"learning_rate\":0.{rank + 1}}}")));
            await Task.WhenAll(group.TrainAsync(0, X), other.TrainAsync(1, X), group.TrainAsync(0, X), group.TrainAsync(0, X.Rows(0, 1)));
            await Task.WhenAll(group.TrainAsync(0, X, retain: true), group.BackwardAsync(1, Backward("")), group.TrainAsync(1, X, false, ("If-Match", "\"0\"")));
            await group.AllAsync(rank => group.TrainAsync(rank, X.Rows(0, rank == 0 ? 1 : 0), retain: true));
        }
        Assert.Equal(0, service.RetainedBytes);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        Assert.Equal((true, 0), (service.HasNoSteps, service.WaitingCalls));
        await group.AllAsync(rank => group.TrainAsync(rank, X, retain: true, ("Idempotency-Key", $"kept-{rank}")));
        (await session.DeleteAsync()).Expect(204);
        Assert.Equal(0, service.RetainedBytes);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task Steps_are_retained_once_however_often_a_rank_asks_for_them()
    {
        var (session, group) = await BeginAsync(2);
        var first = group.TrainAsync(0, X, true, ("Idempotency-Key", "k"));
        var second = group.TrainAsync(0, X, true, ("Idempotency-Key", "k"));
        await Eventually.EqualAsync(2, () => _service.WaitingCalls);
        (await group.TrainAsync(1, X)).Expect(200);
        Assert.Equal((await first).Expect(200).Text, (await second).Expect(200).Text);
        (await group.TrainAsync(0, X, true, ("Idempotency-Key", "k"))).Expect(200);
        var one = await _service.CreateAsync("""{"num_features":64}""");
        var before = _service.RetainedBytes;
        (await one.TrainAsync(X, retain: true)).Expect(200);
        Assert.Equal(before, _service.RetainedBytes - before);
        (await session.DeleteAsync()).Expect(204);
        (await one.DeleteAsync()).Expect(204);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    public void Dispose() => _service.Dispose();

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync(int size)
    {
        var session = await _service.CreateAsync("""{"num_features":64}""");
        return (session, new(session, _service.Client, size));
    }
}
