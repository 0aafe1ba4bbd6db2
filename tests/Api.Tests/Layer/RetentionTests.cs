namespace BnService.Api.Tests.Layer;

/// <summary>How long a train-step's activations are kept for backward, and what happens when they are gone.</summary>
public sealed class RetentionTests
{
    private static readonly Batch X = Batch.Random(1, 6, 2), Dy = Batch.Random(2, 6, 2);

    [Fact]
    public async Task A_step_can_be_differentiated_until_its_time_is_over()
    {
        var time = new ManualTime();
        using var service = Service.At(time, ("Retention:TimeToLive", "00:01:00"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var step = (await session.TrainAsync(X, retain: true)).Expect(200).StepId!;
        time.AdvanceBy(TimeSpan.FromSeconds(59.999));
        (await session.BackwardAsync(step, Dy)).Expect(200);
        (await session.BackwardAsync(step, Dy)).Expect(200);
        time.AdvanceBy(TimeSpan.FromMilliseconds(1));
        (await session.RefusedAsync(s => s.BackwardAsync(step, Dy))).ExpectProblem("step-expired", $"step '{step}'", "resend x with dy");
        (await session.BackwardAsync(X, Dy)).Expect(200);
    }

    /// <summary>Whether the sweep has come by or not.</summary>
    [Fact]
    public async Task A_step_whose_time_is_over_is_gone_even_if_nobody_has_swept()
    {
        var time = new ManualTime();
        using var service = Service.At(time, ("Retention:TimeToLive", "00:01:00"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var step = (await session.TrainAsync(X, retain: true)).Expect(200).StepId!;
        time.JumpBy(TimeSpan.FromMinutes(1));
        (await session.BackwardAsync(step, Dy)).ExpectProblem("step-expired", step);
        Assert.Equal(0, service.RetainedBytes);
    }

    [Fact]
    public async Task The_memory_of_a_step_whose_time_is_over_goes_back_although_nobody_asks()
    {
        var time = new ManualTime();
        using var service = Service.At(time, ("Retention:TimeToLive", "00:01:00"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync(X, retain: true)).Expect(200);
        var one = service.RetainedBytes;
        Assert.InRange(one, X.Data.Length * sizeof(float), long.MaxValue);
        time.AdvanceBy(TimeSpan.FromSeconds(40));
        var late = (await session.TrainAsync(X, retain: true)).Expect(200).StepId!;
        Assert.Equal(2 * one, service.RetainedBytes);
        time.AdvanceBy(TimeSpan.FromSeconds(40));
        Assert.Equal(one, service.RetainedBytes);
        (await session.BackwardAsync(late, Dy)).Expect(200);
        time.AdvanceBy(TimeSpan.FromSeconds(40));
        Assert.Equal(0, service.RetainedBytes);
    }

    [Fact]
    public async Task The_oldest_steps_make_room_for_new_ones()
    {
        var bytes = await BytesOfOneStepAsync();
        using var service = Service.With(("Retention:MaxBytes", $"{3 * bytes}"));
        var (one, other) = (await service.CreateAsync("""{"num_features":2}"""), await service.CreateAsync("""{"num_features":2}"""));
        var steps = new List<(SessionClient Session, string Id)>();
        for (var i = 0; i < 5; i++)
        {
            // The budget is that of all sessions together.
            var session = i % 2 == 0 ? one : other;
            steps.Add((session, (await session.TrainAsync(X, retain: true)).Expect(200).StepId!));
            Assert.Equal(Math.Min(i + 1, 3) * bytes, service.RetainedBytes);
        }
        foreach (var (session, id) in steps[..2]) (await session.BackwardAsync(id, Dy)).ExpectProblem("step-expired", id);
        foreach (var (session, id) in steps[2..]) (await session.BackwardAsync(id, Dy)).Expect(200);
    }

    [Fact]
    public async Task A_large_step_takes_the_place_of_several_small_ones()
    {
        var bytes = await BytesOfOneStepAsync();
        using var service = Service.With(("Retention:MaxBytes", $"{4 * bytes}"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var ids = new List<string>();
        for (var i = 0; i < 4; i++) ids.Add((await session.TrainAsync(X, retain: true)).Expect(200).StepId!);
        var large = Batch.Random(3, 256, 2);
        var id = (await session.TrainAsync(large, retain: true)).Expect(200).StepId!;
        Assert.InRange(service.RetainedBytes, bytes + 1, 4 * bytes);
        (await session.BackwardAsync(ids[0], Dy)).ExpectProblem("step-expired");
        (await session.BackwardAsync(ids[1], Dy)).ExpectProblem("step-expired");
        (await session.BackwardAsync(ids[3], Dy)).Expect(200);
        (await session.BackwardAsync(id, large)).Expect(200);
    }

    [Fact]
    public async Task A_step_larger_than_the_whole_budget_is_refused_unless_it_is_not_to_be_retained()
    {
        var bytes = await BytesOfOneStepAsync();
        using var service = Service.With(("Retention:MaxBytes", $"{bytes - 1}"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = await session.RefusedAsync(s => s.TrainAsync(X, retain: true));
        answer.ExpectProblem("limit-reached", $"retaining this step takes {bytes} bytes", $"Retention:MaxBytes allows {bytes - 1}", "\"retain\": false");
        (await session.TrainAsync(X, retain: false)).Expect(200);
        Assert.Equal(0, service.RetainedBytes);
    }

    [Fact]
    public async Task With_a_budget_of_nothing_nothing_is_retained()
    {
        using var service = Service.With(("Retention:MaxBytes", "0"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.TrainAsync(X, retain: true))).ExpectProblem("limit-reached", "Retention:MaxBytes allows 0");
        (await session.TrainAsync(X)).Expect(200);
    }

    [Theory]
    [InlineData("")]
    [InlineData("nosuch")]
    [InlineData("00000000000000000000000000000000")]
    [InlineData("../../x")]
    [InlineData("ü\\u0000")]
    public async Task A_step_that_never_was_is_expired(string id)
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.BackwardAsync(id, Dy))).ExpectProblem("step-expired");
    }

    [Fact]
    public async Task A_step_id_too_long_for_any_step_is_cut_short_in_the_answer()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = (await session.BackwardAsync(new string('5', 100_000), Dy)).ExpectProblem("step-expired");
        Assert.InRange(answer.Detail.Length, 1, 200);
    }

    [Fact]
    public async Task A_step_belongs_to_its_session()
    {
        using var service = new Service();
        var (one, other) = (await service.CreateAsync("""{"num_features":2}"""), await service.CreateAsync("""{"num_features":2}"""));
        var step = (await one.TrainAsync(X, retain: true)).Expect(200).StepId!;
        (await other.RefusedAsync(s => s.BackwardAsync(step, Dy))).ExpectProblem("step-expired", step, "of this session");
        (await one.BackwardAsync(step, Dy)).Expect(200);
    }

    [Fact]
    public async Task A_refused_backward_leaves_the_step()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":2}""");
        var step = (await session.TrainAsync(X, retain: true)).Expect(200).StepId!;
        var bytes = service.RetainedBytes;
        (await session.RefusedAsync(s => s.BackwardAsync(step, Batch.Random(1, 5, 2))))
            .ExpectProblem("shape-mismatch", "dy must have the shape of x, [6, 2], got [5, 2]");
        Assert.Equal(bytes, service.RetainedBytes);
        (await session.BackwardAsync(step, Dy)).Expect(200);
    }

    private static async Task<long> BytesOfOneStepAsync()
    {
        using var service = new Service();
        (await (await service.CreateAsync("""{"num_features":2}""")).TrainAsync(X, retain: true)).Expect(200);
        return service.RetainedBytes;
    }
}
