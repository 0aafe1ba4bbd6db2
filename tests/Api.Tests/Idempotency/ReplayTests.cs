namespace BnService.Api.Tests.Idempotency;

/// <summary>The same call under the same key a second time: it changes nothing and is answered as the first time.</summary>
public sealed class ReplayTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string, string> Cases
    {
        get
        {
            var cases = new TheoryData<string, string>();
            foreach (var (name, replay) in ReplayCase.All)
            {
                cases.Add(name, Forms.Json);
                cases.Add(name, Forms.Safetensors);
                if (replay.FitsArray) cases.Add(name, Forms.Npy);
            }
            return cases;
        }
    }

    /// <summary>Also by the session's id in place of its name, after other steps, and where the If-Match of the first time is stale.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_repeated_call_changes_nothing_and_is_answered_as_the_first_time(string name, string form)
    {
        var replay = ReplayCase.All[name];
        var session = await service.CreateAsync(replay.Options);
        var x = Batch.Random(1, replay.Shape);
        await PrepareAsync(session, replay);
        var message = await replay.Request(session, x);
        var resource = await session.GetAsync();
        (string, string)[] headers = [("Idempotency-Key", "the-key"), ("If-Match", resource.ETag!)];
        var first = await session.PostAsync(replay.Call, message, form, headers: headers);
        first.Expect(200);

        var other = new[] { Math.Max(replay.Shape[0], 2) }.Concat(replay.Shape[1..]).ToArray();
        for (var seed = 50; seed < 53; seed++) (await session.TrainAsync(Batch.Random(seed, other))).Expect(200);
        if (replay.Meanwhile is not null) Assert.InRange((await replay.Meanwhile(session)).Status, 200, 204);
        (await session.TrainAsync(Batch.Random(53, other))).Expect(200);

        var before = await StateOf(session);
        var byId = new SessionClient(service.Client, resource["id"].GetString()!);
        SameAnswer.Again(first, await session.PostAsync(replay.Call, message, form, headers: headers));
        SameAnswer.Again(first, await byId.PostAsync(replay.Call, message, form, headers: headers[..1]));
        Assert.Equal(before, await StateOf(session));
    }

    /// <summary>The first dx and dgamma, although gamma and beta are others by now.</summary>
    [Fact]
    public async Task An_update_is_made_once_and_its_gradients_stay_those_before_it()
    {
        var session = await service.CreateAsync("""{"num_features":3,"activation":"relu"}""");
        (await session.PutParametersAsync("""{"gamma":[1,-2,0.5],"beta":[0,1,2]}""")).Expect(200);
        var body = $$$"""{"x":{{{Batch.Random(1, 12, 3).Json}}},"dy":{{{Batch.Random(2, 12, 3).Json}}},"update":{"optimizer":"sgd","learning_rate":0.5,"momentum":0.9}}""";
        var plain = await session.BackwardAsync(body.Replace(",\"update\"", ",\"labels\"", StringComparison.Ordinal));
        var first = (await session.BackwardAsync(body, ("Idempotency-Key", "u1"))).Expect(200);
        var second = (await session.BackwardAsync(body, ("Idempotency-Key", "u2"))).Expect(200);
        Assert.NotEqual(first["gamma"].GetRawText(), second["gamma"].GetRawText());
        SameAnswer.Again(first, await session.BackwardAsync(body, ("Idempotency-Key", "u1")));
        SameAnswer.Again(second, await session.BackwardAsync(body, ("Idempotency-Key", "u2")));
        Assert.Equal(3 + 1, (await session.GetAsync()).Version);
        Assert.NotEqual(200, plain.Status);
    }

    [Fact]
    public async Task Commit_and_delete_of_a_calibration_are_done_once()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.CalibrateAsync(Batch.Random(1, 12, 3))).Expect(200);
        var committed = (await session.CommitAsync(("Idempotency-Key", "c"))).Expect(200);
        (await session.CalibrateAsync(Batch.Random(2, 12, 3))).Expect(200);
        // Without the key this would take the second batch over.
        SameAnswer.Again(committed, await session.CommitAsync(("Idempotency-Key", "c")));
        var deleted = (await session.DropCalibrationAsync(("Idempotency-Key", "d"))).Expect(204);
        (await session.CalibrateAsync(Batch.Random(3, 12, 3))).Expect(200);
        var before = await session.GetStateAsync();
        SameAnswer.Again(deleted, await session.DropCalibrationAsync(("Idempotency-Key", "d")));
        SameAnswer.Again(committed, await session.CommitAsync(("Idempotency-Key", "c")));
        Assert.Equal(before.Text, (await session.GetStateAsync()).Text);
        (await session.CommitAsync()).Expect(200);
        // Nothing was there to forget: that, too, is remembered.
        var nothing = (await session.DropCalibrationAsync(("Idempotency-Key", "n"))).Expect(204);
        (await session.CalibrateAsync(Batch.Random(3, 12, 3))).Expect(200);
        SameAnswer.Again(nothing, await session.DropCalibrationAsync(("Idempotency-Key", "n")));
        Assert.Equal(12, (await session.CalibrateAsync("""{"x":{"shape":[0,3],"data":[]}}""")).Expect(200)["count"].GetInt64());
    }

    [Fact]
    public async Task A_merge_is_repeated_although_the_sessions_that_were_merged_are_gone_or_others()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var (deleted, reset) = (await service.CreateAsync("""{"num_features":3}"""), await service.CreateAsync("""{"num_features":3}"""));
        foreach (var other in (SessionClient[])[deleted, reset]) (await other.TrainAsync(Batch.Random(1, 12, 3))).Expect(200);
        var body = $$"""{"sessions":["{{deleted.Name}}","{{reset.Name}}"],"moments":[{"count":2,"mean":[1,2,3],"m2":[1,1,1]}]}""";
        var first = (await session.MergeAsync(body, ("Idempotency-Key", "m"))).Expect(200);
        Assert.Equal(26, first["count"].GetInt64());
        (await reset.ResetAsync(null)).Expect(200);
        SameAnswer.Again(first, await session.MergeAsync(body, ("Idempotency-Key", "m")));
        (await deleted.DeleteAsync()).Expect(204);
        SameAnswer.Again(first, await session.MergeAsync(body, ("Idempotency-Key", "m")));
        (await session.MergeAsync(body)).ExpectProblem("session-not-found");
        Assert.Equal(2, (await session.GetAsync()).Version);
    }

    [Fact]
    public async Task Without_a_key_the_same_body_is_another_step()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        foreach (var version in (long[])[2, 3]) Assert.Equal(version, (await session.TrainAsync(Batch.Random(1, 12, 3))).Expect(200).Version);
        foreach (var key in (string[])["a", "A", "b"])
        {
            var answer = (await session.TrainAsync($$"""{"x":{{Batch.Random(1, 12, 3).Json}}}""", ("Idempotency-Key", key))).Expect(200);
            Assert.False(answer.Headers.ContainsKey("Idempotent-Replayed"));
        }
        Assert.Equal(6, (await session.GetAsync()).Version);
    }

    [Fact]
    public async Task The_step_that_is_named_again_is_the_one_that_was_retained()
    {
        using var own = new Service();
        var session = await own.CreateAsync("""{"num_features":3}""");
        var body = $$"""{"x":{{Batch.Random(1, 12, 3).Json}}}""";
        var first = (await session.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        var retained = own.RetainedBytes;
        var again = await session.TrainAsync(body, ("Idempotency-Key", "k"));
        Assert.Equal((first.StepId, retained), (again.StepId, own.RetainedBytes));
        (await session.BackwardAsync(again.StepId!, Batch.Random(2, 12, 3))).Expect(200);
    }

    private static async Task PrepareAsync(SessionClient session, ReplayCase replay)
    {
        var shape = new[] { Math.Max(replay.Shape[0], 2) }.Concat(replay.Shape[1..]).ToArray();
        for (var seed = 30; seed < 32; seed++) (await session.TrainAsync(Batch.Random(seed, shape))).Expect(200);
        var stats = await session.StatsAsync();
        foreach (var parameter in (string[])["gamma", "beta"])
        {
            if (!stats.Has(parameter) || stats[parameter].ValueKind != System.Text.Json.JsonValueKind.Array) continue;
            var values = stats.Numbers(parameter).Select((_, i) => i == 1 ? -0.7 : 0.3 + i);
            (await session.PutParametersAsync($$"""{"{{parameter}}":{{Batch.Array(values)}}}""")).Expect(200);
        }
        if (replay.Before is not null) (await replay.Before(session)).Expect(200);
    }

    private static async Task<string> StateOf(SessionClient session) => await session.StateAsync() + (await session.GetStateAsync()).Text;
}
