namespace BnService.Api.Tests.Synchronized;

/// <summary>A rank that repeats its call with the same Idempotency-Key is counted once, whenever it does so.</summary>
public sealed class RepetitionTests(Service service) : IClassFixture<Service>
{
    private const string Sgd = """{"optimizer":"sgd","learning_rate":0.25}""", Adam = """{"optimizer":"adam","learning_rate":0.25}""";

    private static readonly Batch X = Batch.Random(1, 12, 3), Dy = Batch.Random(2, 12, 3);

    public static TheoryData<string> Options => new(
        """{"num_features":3}""",
        """{"num_features":3,"activation":"relu"}""",
        """{"num_features":3,"kind":"batch_renorm","renorm":{"r_max":2,"d_max":1,"warmup_steps":0}}""");

    [Theory]
    [MemberData(nameof(Options))]
    public async Task After_the_step_the_repetition_of_each_rank_has_the_same_answer_and_counts_nothing(string options)
    {
        var (session, group) = await BeginAsync(options, 3);
        await group.AllAsync(200, rank => group.TrainAsync(rank, Part(rank, 3)));
        var first = await group.AllAsync(200, rank => TrainAsync(group, rank));
        // What comes afterwards moves what renormalization goes towards.
        (await session.TrainAsync(Batch.Random(7, 20, 3))).Expect(200);
        var before = await session.StateAsync();
        for (var i = 0; i < 2; i++)
        {
            for (var rank = 0; rank < 3; rank++) IsReplayOf(first[rank], await TrainAsync(group, rank));
        }
        Assert.Equal(before, await session.StateAsync());
        Assert.All(first, answer => Assert.DoesNotContain("Idempotent-Replayed", answer.Headers.Keys));
        Assert.Equal(0, service.WaitingRanks);
    }

    [Theory]
    [InlineData(true, Sgd, "none")]
    [InlineData(true, Adam, "relu")]
    [InlineData(false, Sgd, "none")]
    [InlineData(false, Adam, "relu")]
    public async Task Gradients_are_applied_once_however_often_each_rank_asks(bool isThroughStep, string update, string activation)
    {
        var (session, group) = await BeginAsync($$"""{"num_features":3,"activation":"{{activation}}"}""", 2);
        var steps = await group.AllAsync(200, rank => group.TrainAsync(rank, Part(rank, 2), retain: true));
        Task<Answer> BackwardAsync(int rank) => group.BackwardAsync(rank,
            $$"""{ {{(isThroughStep ? $"\"step_id\":\"{steps[rank].StepId}\"" : $"\"x\":{Part(rank, 2).Json}")}},"dy":{{Dy.Rows(6 * rank, 6).Json}},"update":{{update}}}""",
            ("Idempotency-Key", $"b{rank}"));
        var first = await group.AllAsync(200, BackwardAsync);
        var before = await session.StateAsync();
        for (var i = 0; i < 2; i++)
        {
            for (var rank = 0; rank < 2; rank++) IsReplayOf(first[rank], await BackwardAsync(rank));
        }
        Assert.Equal(before, await session.StateAsync());
        Assert.Equal(3, (await session.GetAsync()).Version);
    }

    /// <summary>The update has moved the parameters with which the gradients were computed.</summary>
    [Theory]
    [InlineData("inference", "train")]
    [InlineData("train", "frozen")]
    public async Task Gradients_through_the_running_statistics_are_repeated_as_well(string mode, string sessionMode)
    {
        var (session, group) = await BeginAsync("""{"num_features":3,"activation":"relu"}""", 2);
        (await session.TrainAsync(X)).Expect(200);
        if (sessionMode == "frozen") (await session.PatchAsync("""{"mode":"frozen"}""")).Expect(200);
        Task<Answer> BackwardAsync(int rank) => group.BackwardAsync(rank,
            $$"""{"x":{{Part(rank, 2).Json}},"dy":{{Dy.Rows(6 * rank, 6).Json}},"mode":"{{mode}}","update":{{Sgd}}}""", ("Idempotency-Key", $"b{rank}"));
        var first = await group.AllAsync(200, BackwardAsync);
        for (var rank = 0; rank < 2; rank++) IsReplayOf(first[rank], await BackwardAsync(rank));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_repetition_while_the_first_call_still_waits_is_the_same_contribution(bool retain)
    {
        var (session, group) = await BeginAsync("""{"num_features":3}""", 2);
        var first = TrainAsync(group, 0, retain);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        var second = TrainAsync(group, 0, retain);
        await Eventually.EqualAsync(2, () => service.WaitingCalls);
        Assert.Equal(1, service.WaitingRanks);
        var other = (await TrainAsync(group, 1, retain)).Expect(200);
        var answers = await Task.WhenAll(first, second);
        Assert.Equal(answers[0].Expect(200).Text, answers[1].Expect(200).Text);
        Assert.Equal((2, 12), (other.Version, answers[0]["count"].GetInt32()));
        Assert.Equal(2, (await session.GetAsync()).Version);
        IsReplayOf(answers[0], await TrainAsync(group, 0, retain));
        if (!retain) return;
        var gradients = await group.AllAsync(200, rank =>
            group.BackwardAsync(rank, $$"""{"step_id":"{{(rank == 0 ? answers[0] : other).StepId}}","dy":{{Dy.Rows(6 * rank, 6).Json}}}"""));
        Assert.All(gradients, gradient => Assert.Equal(2, gradient.Version));
    }

    [Fact]
    public async Task A_repetition_stays_when_the_first_call_hangs_up()
    {
        var (session, group) = await BeginAsync("""{"num_features":3}""", 2);
        using var hangUp = new CancellationTokenSource();
        var first = group.PostAsync("train-step", 0, RankGroup.TrainBody(Part(0, 2), retain: true), hangUp.Token, ("Idempotency-Key", "k0"));
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        var second = TrainAsync(group, 0, retain: true);
        await Eventually.EqualAsync(2, () => service.WaitingCalls);
        await hangUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        await Eventually.EqualAsync(1, () => service.WaitingCalls);
        var other = (await TrainAsync(group, 1, retain: true)).Expect(200);
        var answer = (await second).Expect(200);
        Assert.Equal((2, 12), (answer.Version, other["count"].GetInt32()));
        Assert.Equal(2, (await session.GetAsync()).Version);
        // What was retained is what the answer names, whichever call it was.
        IsReplayOf(answer, await TrainAsync(group, 0, retain: true));
        await group.AllAsync(200, rank =>
            group.BackwardAsync(rank, $$"""{"step_id":"{{(rank == 0 ? answer : other).StepId}}","dy":{{Dy.Rows(6 * rank, 6).Json}}}"""));
    }

    [Fact]
    public async Task A_key_that_has_named_another_body_or_another_rank_is_refused()
    {
        var (session, group) = await BeginAsync("""{"num_features":3}""", 2);
        await group.AllAsync(200, rank => TrainAsync(group, rank));
        (await session.RefusedAsync(_ => group.TrainAsync(0, Part(1, 2), headers: ("Idempotency-Key", "k0")))).ExpectProblem("idempotency-key-reused", "'k0'");
        (await session.RefusedAsync(_ => group.TrainAsync(1, Part(0, 2), headers: ("Idempotency-Key", "k0")))).ExpectProblem("idempotency-key-reused", "'k0'");
        (await session.RefusedAsync(_ => group.BackwardAsync(0, $$"""{"x":{{X.Json}},"dy":{{Dy.Json}}}""", ("Idempotency-Key", "k0"))))
            .ExpectProblem("idempotency-key-reused", "'k0'");
        (await session.RefusedAsync(s => s.TrainAsync(RankGroup.TrainBody(X), ("Idempotency-Key", "k0")))).ExpectProblem("idempotency-key-reused", "'k0'");
        Assert.Equal(0, service.WaitingRanks);
    }

    [Fact]
    public async Task Another_body_under_the_key_of_a_call_that_waits_is_refused_and_the_call_goes_on()
    {
        var (_, group) = await BeginAsync("""{"num_features":3}""", 2);
        var first = TrainAsync(group, 0);
        await Eventually.EqualAsync(1, () => service.WaitingRanks);
        (await group.TrainAsync(0, Part(1, 2), headers: ("Idempotency-Key", "k0"))).ExpectProblem("idempotency-key-reused", "'k0'");
        (await TrainAsync(group, 1)).Expect(200);
        Assert.Equal(12, (await first).Expect(200)["count"].GetInt32());
    }

    /// <summary>The condition was that of the first time, and held.</summary>
    [Fact]
    public async Task A_repetition_is_answered_although_its_condition_no_longer_holds()
    {
        var (_, group) = await BeginAsync("""{"num_features":3}""", 2);
        Task<Answer> TrainIfAsync(int rank) => group.TrainAsync(rank, Part(rank, 2), false, ("Idempotency-Key", $"k{rank}"), ("If-Match", "\"1\""));
        var first = await group.AllAsync(200, TrainIfAsync);
        for (var rank = 0; rank < 2; rank++) IsReplayOf(first[rank], await TrainIfAsync(rank));
        Task<Answer> BackwardIfAsync(int rank) => group.BackwardAsync(rank, $$"""{"x":{{Part(rank, 2).Json}},"dy":{{Part(rank, 2).Json}},"update":{{Sgd}}}""",
            ("Idempotency-Key", $"b{rank}"), ("If-Match", "\"2\""));
        first = await group.AllAsync(200, BackwardIfAsync);
        for (var rank = 0; rank < 2; rank++) IsReplayOf(first[rank], await BackwardIfAsync(rank));
    }

    [Fact]
    public async Task A_repetition_after_the_session_was_frozen_has_the_answer_of_before()
    {
        var (session, group) = await BeginAsync("""{"num_features":3}""", 2);
        var first = await group.AllAsync(200, rank => TrainAsync(group, rank));
        (await session.PatchAsync("""{"mode":"frozen","eps":0.5}""")).Expect(200);
        for (var rank = 0; rank < 2; rank++) IsReplayOf(first[rank], await TrainAsync(group, rank));
    }

    [Fact]
    public async Task A_repetition_of_a_frozen_step_is_answered_after_the_session_trains_again()
    {
        var (session, group) = await BeginAsync("""{"num_features":3,"mode":"frozen"}""", 2);
        (await TrainAsync(group, 0)).Expect(200);
        var backward = new Func<int, Task<Answer>>(rank =>
            group.BackwardAsync(rank, $$"""{"x":{{Part(rank, 2).Json}},"dy":{{Part(rank, 2).Json}}}""", ("Idempotency-Key", $"b{rank}")));
        var first = await group.AllAsync(200, backward);
        (await session.PatchAsync("""{"mode":"train"}""")).Expect(200);
        Assert.Equal("true", (await TrainAsync(group, 0)).Expect(200).Headers["Idempotent-Replayed"]);
        for (var rank = 0; rank < 2; rank++) IsReplayOf(first[rank], await backward(rank));
    }

    private async Task<(SessionClient Session, RankGroup Group)> BeginAsync(string options, int size)
    {
        var session = await service.CreateAsync(options);
        return (session, new(session, service.Client, size));
    }

    private static Task<Answer> TrainAsync(RankGroup group, int rank, bool retain = true) =>
        group.TrainAsync(rank, Part(rank, group.Size), retain, ("Idempotency-Key", $"k{rank}"));

    private static void IsReplayOf(Answer first, Answer again)
    {
        Assert.Equal(first.Expect(200).Text, again.Expect(200).Text);
        Assert.Equal((first.ETag, "true"), (again.ETag, again.Headers.GetValueOrDefault("Idempotent-Replayed")));
    }

    private static Batch Part(int rank, int size) => X.Rows(12 / size * rank, 12 / size);
}
