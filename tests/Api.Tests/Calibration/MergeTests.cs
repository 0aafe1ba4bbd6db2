namespace BnService.Api.Tests.Calibration;

/// <summary>Statistics gathered elsewhere.</summary>
public sealed class MergeTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch Wines = Repository.Wines();

    [Fact]
    public async Task Moments_by_hand()
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        // 1, 3 and 5, 7, 9.
        var answer = (await session.MergeAsync("""{"moments":[{"count":2,"mean":[2],"m2":[2]},{"count":3,"mean":[7],"m2":[8]}]}""")).Expect(200);
        Assert.Equal((2, 2, 5), (answer.Version, answer["batches"].GetInt64(), answer["count"].GetInt64()));
        answer.ExpectNumbers("mean", 5);
        answer.ExpectNumbers("var", 10);
        (await session.CalibrateAsync("""{"x":[[11]]}""")).Expect(200).ExpectNumbers("mean", 6);
        var committed = (await session.CommitAsync()).Expect(200);
        committed.ExpectNumbers("running_var", 14); // 25 + 9 + 1 + 1 + 9 + 25 over 5
        Assert.Equal(3, committed["num_batches_tracked"].GetInt64());
    }

    /// <summary>One trained on the first wines, one calibrated with the next, the last as moments: together all of them.</summary>
    [Fact]
    public async Task Sessions_and_moments_of_parts_are_the_statistics_of_the_whole()
    {
        var (trained, calibrated) = (await service.CreateAsync("""{"num_features":13}"""), await service.CreateAsync("""{"num_features":13}"""));
        (await trained.TrainAsync(Wines.Rows(0, 40))).Expect(200);
        (await trained.TrainAsync(Wines.Rows(40, 31))).Expect(200);
        (await calibrated.TrainAsync(Wines.Rows(0, 100))).Expect(200); // not asked for: its population estimate comes first
        (await calibrated.CalibrateAsync(Wines.Rows(71, 7))).Expect(200);
        (await calibrated.CalibrateAsync(Wines.Rows(78, 1))).Expect(200);
        var rest = new ReferenceLayer(13).StatisticsOf(Wines.Rows(79, 99));
        var moments = $$"""{"count":99,"mean":{{Batch.Array(rest.Mean)}},"m2":{{Batch.Array(rest.Variance.Select(variance => variance * 99))}}}""";

        var session = await service.CreateAsync("""{"num_features":13}""");
        var id = (await trained.GetAsync())["id"].GetString();
        var answer = (await session.MergeAsync($$"""{"moments":[{{moments}}],"sessions":["{{id}}","{{calibrated.Name}}"]}""")).Expect(200);
        Assert.Equal((178, 5, 2), (answer["count"].GetInt64(), answer["batches"].GetInt64(), answer.Version));
        var (whole, committed) = (new ReferenceLayer(13).StatisticsOf(Wines), (await session.CommitAsync()).Expect(200));
        Accuracy.Doubles_are(whole.Mean, committed.Numbers("running_mean"), "mean");
        Accuracy.Doubles_are([.. whole.Variance.Select(variance => variance * 178 / 177)], committed.Numbers("running_var"), "variance");
        // Who was merged is as before.
        Assert.Equal((3, 4), ((await trained.GetAsync()).Version, (await calibrated.GetAsync()).Version));
    }

    [Fact]
    public async Task What_a_session_has_been_trained_on_outlives_running_statistics_from_outside_and_ends_with_a_reset()
    {
        var (trained, session) = (await service.CreateAsync("""{"num_features":1}"""), await service.CreateAsync("""{"num_features":1}"""));
        (await trained.TrainAsync("""{"x":[[1],[3]],"retain":false}""")).Expect(200);
        (await trained.PutRunningStatsAsync("""{"running_mean":[99]}""")).Expect(200);
        (await session.MergeAsync($$"""{"sessions":["{{trained.Name}}"]}""")).Expect(200).ExpectNumbers("mean", 2);
        (await trained.ResetAsync(null)).Expect(200);
        (await session.RefusedAsync(s => s.MergeAsync($$"""{"sessions":["{{trained.Name}}"]}""")))
            .ExpectProblem("no-running-statistics", trained.Name);
    }

    [Fact]
    public async Task A_batch_that_poisoned_the_running_statistics_is_not_merged()
    {
        var trained = await service.CreateAsync("""{"num_features":1,"non_finite":"propagate"}""");
        (await trained.TrainAsync("""{"x":[[1],[3]],"retain":false}""")).Expect(200);
        (await trained.TrainAsync("""{"x":[[1],["NaN"]],"retain":false}""")).Expect(200);
        var session = await service.CreateAsync("""{"num_features":1}""");
        var answer = (await session.MergeAsync($$"""{"sessions":["{{trained.Name}}"]}""")).Expect(200);
        Assert.Equal((2, 1), (answer["count"].GetInt64(), answer["batches"].GetInt64()));
    }

    [Theory]
    [InlineData("""{}""", "invalid-option", "moments, sessions or both")]
    [InlineData("""{"moments":[],"sessions":[]}""", "invalid-option", "moments, sessions or both")]
    [InlineData("""{"moments":null,"sessions":null}""", "invalid-option", "moments, sessions or both")]
    [InlineData("""{"moments":[{"count":1,"mean":[1,2],"m2":[0,0]},{"count":0,"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "moments[1].count must be a whole number of 1 or more, got 0")]
    [InlineData("""{"moments":[{"count":-1,"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "moments[0].count", "got -1")]
    [InlineData("""{"moments":[{"count":1.5,"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "moments[0].count must be a whole number, got 1.5")]
    [InlineData("""{"moments":[{"count":1e30,"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "moments[0].count must be a whole number")]
    [InlineData("""{"moments":[{"count":null,"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "moments[0].count must be a whole number, got null")]
    [InlineData("""{"moments":[{"count":1,"mean":null,"m2":[0,0]}]}""", "invalid-option", "moments[0].mean must be an array of numbers, got null")]
    [InlineData("""{"sessions":[null]}""", "invalid-option", "sessions")]
    [InlineData("""{"moments":[{"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "moments[0].count is missing")]
    [InlineData("""{"moments":[{"count":2,"m2":[0,0]}]}""", "invalid-option", "moments[0].mean is missing; it must be an array of numbers")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,2]}]}""", "invalid-option", "moments[0].m2 is missing")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,2],"m2":[0,-1]}]}""", "invalid-option", "moments[0].m2[1] must be 0 or more, got -1")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,"NaN"],"m2":[0,0]}]}""", "invalid-option", "moments[0].mean[1] must be a finite number, got NaN")]
    [InlineData("""{"moments":[{"count":2,"mean":[1e999,1],"m2":[0,0]}]}""", "invalid-option", "moments[0].mean")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,2],"m2":["Infinity",0]}]}""", "invalid-option", "moments[0].m2[0] must be a finite number, got Infinity")]
    [InlineData("""{"moments":[{"count":2,"mean":[1],"m2":[0,0]}]}""", "shape-mismatch", "moments[0].mean must have 2 values, one per statistic, got 1")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,2],"m2":[0,0,0]}]}""", "shape-mismatch", "moments[0].m2 must have 2 values, one per statistic, got 3")]
    [InlineData("""{"moments":[{"count":2,"mean":[],"m2":[]}]}""", "shape-mismatch", "moments[0].mean must have 2 values")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,null],"m2":[0,0]}]}""", "invalid-option", "moments[0].mean[1] must be a number, \"NaN\", \"Infinity\" or \"-Infinity\", got null")]
    [InlineData("""{"moments":[{"count":2,"mean":3,"m2":[0,0]}]}""", "invalid-option", "moments[0].mean must be an array of numbers, got 3")]
    [InlineData("""{"moments":[{"count":2,"mean":[1,2],"m2":[0,0],"var":1}]}""", "invalid-option", "'moments[0].var' is not a field")]
    [InlineData("""{"moments":[{"count":2,"count":2,"mean":[1,2],"m2":[0,0]}]}""", "malformed-body", "'moments[0].count' twice")]
    [InlineData("""{"moments":[null]}""", "invalid-option", "moments[0] must be an object, got null")]
    [InlineData("""{"moments":[[1]]}""", "invalid-option", "moments[0] must be an object, got an array")]
    [InlineData("""{"moments":{"count":1}}""", "invalid-option", "moments must be an array of objects, got an object")]
    [InlineData("""{"moments":[{"count":2""", "malformed-body")]
    [InlineData("""{"moments":[{"count":9223372036854775807,"mean":[1,2],"m2":[0,0]},{"count":1,"mean":[1,2],"m2":[0,0]}]}""", "invalid-option", "more than 9223372036854775807 values")]
    [InlineData("""{"moments":[{"count":2,"mean":[1e300,2],"m2":[0,0]},{"count":1,"mean":[-1e300,2],"m2":[0,0]}]}""", "invalid-option", "beyond double")]
    [InlineData("""{"sessions":"other"}""", "invalid-option", "sessions must be an array of strings")]
    [InlineData("""{"sessions":[null]}""", "invalid-option", "sessions[0]")]
    [InlineData("""{"sessions":[7]}""", "invalid-option", "sessions[0]")]
    [InlineData("""{"sessions":["nosuch"]}""", "session-not-found", "'nosuch'")]
    [InlineData("""{"sessions":[""]}""", "session-not-found", "''")]
    [InlineData("""{"moments":[{"count":1,"mean":[1,2],"m2":[0,0]}],"sessions":["nosuch"]}""", "session-not-found", "'nosuch'")]
    public async Task What_cannot_be_merged_is_refused_by_name_and_merges_nothing(string body, string code, params string[] details)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.MergeAsync(body))).ExpectProblem(code, details);
        Assert.Equal(0, (await session.CalibrateAsync("""{"x":{"shape":[0,2],"data":[]}}""")).Expect(200)["count"].GetInt64());
    }

    [Fact]
    public async Task Sessions_that_do_not_fit_are_refused_by_name()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var (empty, narrow, untracked) = (await service.CreateAsync("""{"num_features":2}"""), await service.CreateAsync("""{"num_features":1}"""),
            await service.CreateAsync("""{"num_features":2,"track_running_stats":false}"""));
        (await session.CalibrateAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        (await narrow.TrainAsync("""{"x":[[1],[2]]}""")).Expect(200);
        (await untracked.TrainAsync("""{"x":[[1,2],[2,3]]}""")).Expect(200);
        (await session.RefusedAsync(s => s.MergeAsync($$"""{"sessions":["{{empty.Name}}"]}"""))).ExpectProblem("no-running-statistics", "sessions[0]", empty.Name);
        (await session.RefusedAsync(s => s.MergeAsync($$"""{"sessions":["{{untracked.Name}}"]}"""))).ExpectProblem("no-running-statistics", untracked.Name);
        (await session.RefusedAsync(s => s.MergeAsync($$"""{"sessions":["{{narrow.Name}}"]}"""))).ExpectProblem("shape-mismatch", "has 1 features, expected 2");
        var id = (await session.GetAsync())["id"].GetString();
        foreach (var self in (string[])[session.Name, id!])
            (await session.RefusedAsync(s => s.MergeAsync($$"""{"sessions":["{{self}}"]}"""))).ExpectProblem("invalid-option", "sessions[0]");
        (await empty.RefusedAsync(s => s.MergeAsync($$"""{"sessions":["{{session.Name}}","{{id}}"]}""")))
            .ExpectProblem("invalid-option", "sessions[1]", "sessions[0] again");
    }

    [Fact]
    public async Task Per_activation_the_first_entry_fixes_the_number_of_statistics()
    {
        var session = await service.CreateAsync("""{"num_features":1,"granularity":"per_activation"}""");
        (await session.RefusedAsync(s => s.MergeAsync(
            """{"moments":[{"count":2,"mean":[1,2],"m2":[1,1]},{"count":2,"mean":[1,2,3],"m2":[1,1,1]}]}"""))).ExpectProblem("shape-mismatch", "moments[1].mean must have 2");
        (await session.MergeAsync("""{"moments":[{"count":2,"mean":[1,2],"m2":[1,1]}]}""")).Expect(200);
        Assert.Equal(2, (await session.CommitAsync()).Expect(200).Numbers("running_mean").Length);
    }
}
