namespace BnService.Api.Tests.Concurrency;

/// <summary>All native memory goes back: after success, after every kind of refusal, after deletion, and when the service ends.</summary>
[Collection(WholeProcess.Name)]
public sealed class MemoryTests : IDisposable
{
    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Service _service = Service.With(("Retention:MaxBytes", "200000"), ("Limits:MaxBodyBytes", "100000"));

    public static TheoryData<string, string, string> Refusals => new()
    {
        { "train-step", """{"x":[[1,2],[3,4]],"x":[[1,2],[3,4]]}""", "malformed-body" },
        { "train-step", """{"x":[[1,2],[3,4]],"retain":1}""", "invalid-option" },
        { "train-step", """{"x":[[1,2],[3,4]],"nosuch":1}""", "invalid-option" },
        { "train-step", """{"x":[[1,2],[3,4]]""", "malformed-body" },
        { "train-step", """{"x":[[1,2],[3,4]]}x""", "malformed-body" },
        { "train-step", """{"x":[[1,2],[3,4""", "malformed-body" },
        { "train-step", """{"x":[[1,2],[3]]}""", "shape-mismatch" },
        { "train-step", """{"x":[[1,2],["\ud800",1]]}""", "malformed-body" },
        { "train-step", """{"x":[[1,2],[3,1e39]]}""", "non-finite-input" },
        { "train-step", """{"x":[[1,2],[3,"NaN"]]}""", "non-finite-input" },
        { "train-step", """{"x":[[1,2]]}""", "batch-too-small" },
        { "train-step", """{"x":[[1,2,3],[4,5,6]]}""", "shape-mismatch" },
        { "train-step", """{"x":{"shape":[1073741823,2],"data":[1,2]}}""", "shape-mismatch" },
        { "train-step", """{"x":{"shape":[2,2],"data":[1,2,3]}}""", "shape-mismatch" },
        { "train-step", """{"x":{"shape":[2,2],"data":[1,2,3,4,5]}}""", "shape-mismatch" },
        { "inference", """{"x":[[1,2,3]]}""", "shape-mismatch" },
        { "inference", """{"x":[[1,2]],"y":1}""", "invalid-option" },
        { "backward", """{"x":[[1,2],[3,4]]}""", "malformed-body" },
        { "backward", """{"x":[[1,2],[3,4]],"dy":[[1,2]]}""", "shape-mismatch" },
        { "backward", """{"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"mode":"no"}""", "invalid-option" },
        { "backward", """{"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"step_id":"a"}""", "invalid-option" },
        { "backward", """{"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"update":{"optimizer":"no"}}""", "invalid-option" },
        { "backward", """{"x":[[1,2],[3,4]],"dy":[[1,2],["NaN",4]],"update":{"optimizer":"sgd"}}""", "non-finite-input" },
        { "backward", """{"step_id":"a","dy":[[1,2],[3,4]]}""", "step-expired" },
        { "backward", """{"x":[[1,2]],"dy":[[1,2]]}""", "batch-too-small" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task A_refusal_keeps_nothing(string call, string body, string code)
    {
        var session = await _service.CreateAsync("""{"num_features":2}""");
        for (var i = 0; i < 20; i++) (await _service.Client.PostAsync($"{session.Path}/{call}", body)).ExpectProblem(code);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task Refusals_that_come_late_keep_nothing_either()
    {
        var session = await _service.CreateAsync("""{"num_features":2}""");
        const string x = """{"x":[[1,2],[3,5]]}""", backward = """{"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"update":{"optimizer":"sgd"}}""";
        for (var i = 0; i < 20; i++)
        {
            (await session.TrainAsync(x, ("If-Match", "\"7\""))).ExpectProblem("version-conflict");
            (await session.BackwardAsync(backward, ("If-Match", "\"7\""))).ExpectProblem("version-conflict");
            (await _service.Client.PostAsync($"{session.Path}/inference", x, ("Accept", "text/html"))).ExpectProblem("not-acceptable");
            (await _service.Client.PostAsync("/v1/sessions/nosuch/train-step", x)).ExpectProblem("session-not-found");
            (await session.TrainAsync(x.PadRight(100_001))).ExpectProblem("payload-too-large");
        }
        (await session.TrainAsync(Batch.Random(1, 100, 2).Rows(0, 100).As(2, 2, 50), retain: true)).Expect(200);
        (await session.TrainAsync($$"""{"x":{{Batch.Random(1, 4000, 2).Json}},"retain":true}""")).Expect(200);
        (await session.DeleteAsync()).Expect(204);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task A_step_too_large_to_be_retained_keeps_nothing()
    {
        using var service = Service.With(("Retention:MaxBytes", "1000"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        for (var i = 0; i < 20; i++) (await session.TrainAsync(Batch.Random(1, 400, 2), retain: true)).ExpectProblem("limit-reached");
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task Success_keeps_what_is_retained_and_deletion_gives_it_back()
    {
        var sessions = new List<SessionClient>();
        for (var i = 0; i < 3; i++) sessions.Add(await _service.CreateAsync("""{"num_features":8,"activation":"relu"}"""));
        // Far more steps than the budget holds, so that old ones make room all the time.
        await Parallel.ForAsync(0, 120, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (i, _) =>
        {
            var (session, x) = (sessions[i % 3], Batch.Random(i, 64 + i, 8));
            var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
            Assert.Contains((await session.BackwardAsync(step, x, """{"optimizer":"adam"}""")).Status, (int[])[200, 410]);
            (await session.BackwardAsync(x, x)).Expect(200);
            (await session.InferAsync(x)).Expect(200);
        });
        Assert.InRange(_service.RetainedBytes, 1, 200_000);
        Assert.True(Service.RentedBytes > _rentedBefore);
        foreach (var session in sessions) (await session.DeleteAsync()).Expect(204);
        Assert.Equal(0, _service.RetainedBytes);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task A_service_that_ends_gives_back_what_it_has_retained()
    {
        using (var service = new Service())
        {
            var session = await service.CreateAsync("""{"num_features":8}""");
            for (var i = 0; i < 5; i++) (await session.TrainAsync(Batch.Random(i, 64, 8), retain: true)).Expect(200);
            Assert.True(Service.RentedBytes > _rentedBefore);
        }
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task Time_gives_it_back_as_well()
    {
        var time = new ManualTime();
        using var service = Service.At(time);
        var session = await service.CreateAsync("""{"num_features":8}""");
        for (var i = 0; i < 5; i++) (await session.TrainAsync(Batch.Random(i, 64, 8), retain: true)).Expect(200);
        Assert.True(Service.RentedBytes > _rentedBefore);
        time.AdvanceBy(TimeSpan.FromMinutes(13));
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    /// <summary>A step may be committed while its session is deleted: then nobody can ask for it, and nothing may be kept of it.</summary>
    [Fact]
    public async Task Steps_of_a_session_that_is_deleted_meanwhile_are_not_kept()
    {
        for (var round = 0; round < 30; round++)
        {
            var session = await _service.CreateAsync("""{"num_features":4}""");
            var x = Batch.Random(round, 64, 4);
            var steps = Enumerable.Range(0, 8).Select(_ => Task.Run(() => session.TrainAsync(x, retain: true))).ToList();
            await Task.Run(() => session.DeleteAsync());
            foreach (var step in steps) Assert.Contains((await step).Status, (int[])[200, 404]);
        }
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        Assert.Equal(0, _service.RetainedBytes);
    }

    public void Dispose() => _service.Dispose();
}
