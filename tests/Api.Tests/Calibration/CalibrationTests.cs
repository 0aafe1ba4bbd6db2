using System.Text.Json;

namespace BnService.Api.Tests.Calibration;

/// <summary>Population statistics over a data set, gathered batch by batch.</summary>
public sealed class CalibrationTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch Wines = Repository.Wines();

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 40)]
    [InlineData(3, 90)]
    public async Task Ragged_parts_of_the_wines_in_any_order_are_the_wines_in_one_piece(int seed, int largest)
    {
        var whole = await service.CreateAsync("""{"num_features":13}""");
        (await whole.CalibrateAsync(Wines)).Expect(200);
        var expected = (await whole.CommitAsync()).Expect(200);
        var session = await service.CreateAsync("""{"num_features":13}""");
        var parts = Parts(seed, largest);
        for (var i = 0; i < parts.Count; i++)
        {
            var answer = (await session.CalibrateAsync(parts[i])).Expect(200);
            Assert.Equal((i + 2, i + 1), (answer.Version, answer["batches"].GetInt64()));
            Assert.Equal(parts.Take(i + 1).Sum(part => part.Shape[0]), answer["count"].GetInt64());
        }
        var committed = (await session.CommitAsync()).Expect(200);
        Accuracy.Doubles_are(expected.Numbers("running_mean"), committed.Numbers("running_mean"), "mean");
        Accuracy.Doubles_are(expected.Numbers("running_var"), committed.Numbers("running_var"), "variance");
        Assert.Equal((parts.Count, 1), (committed["num_batches_tracked"].GetInt64(), expected["num_batches_tracked"].GetInt64()));

        // Against the definition, and as everybody else sees it.
        var (definition, stats) = (new ReferenceLayer(13).StatisticsOf(Wines), await session.StatsAsync());
        Accuracy.Doubles_are(definition.Mean, stats.Numbers("running_mean"), "mean");
        Accuracy.Doubles_are([.. definition.Variance.Select(variance => variance * 178 / 177)], stats.Numbers("running_var"), "variance");
        Assert.Equal(parts.Count + 2, stats.Version);
    }

    [Theory]
    [InlineData("\"unbiased_running_var\":true", 2, 10)]
    [InlineData("\"unbiased_running_var\":false", 1, 8)]
    [InlineData("\"convention\":\"pytorch\"", 2, 10)]
    [InlineData("\"convention\":\"keras\"", 1, 8)]
    [InlineData("\"convention\":\"flax\"", 1, 8)]
    [InlineData("\"convention\":\"onnx\"", 1, 8)]
    public async Task The_variance_is_of_the_kind_that_the_running_one_is(string option, double ofTwo, double ofFive)
    {
        var session = await service.CreateAsync($$"""{"num_features":2,{{option}}}""");
        var answer = (await session.CalibrateAsync("""{"x":[[1,10],[3,10]]}""")).Expect(200);
        answer.ExpectNumbers("mean", 2, 10);
        answer.ExpectNumbers("var", ofTwo, 0);
        (await session.MergeAsync("""{"moments":[{"count":3,"mean":[7,10],"m2":[8,0]}]}""")).Expect(200).ExpectNumbers("var", ofFive, 0);
        (await session.StatsAsync()).ExpectNumbers("running_var", 1, 1);
        (await session.CommitAsync()).Expect(200).ExpectNumbers("running_var", ofFive, 0);
        var version = (await session.SnapshotAsync()).Expect(201)["version"].GetInt64();
        Assert.Equal($"[{ofFive},0]", (await session.GetSnapshotAsync(version)).Expect(200)["state"].GetProperty("running_var").GetRawText());
    }

    [Theory]
    [InlineData("true", 177)]
    [InlineData("false", 178)]
    public async Task The_wines_are_committed_with_the_sessions_own_variance(string unbiased, double divisor)
    {
        var session = await service.CreateAsync($$"""{"num_features":13,"unbiased_running_var":{{unbiased}}}""");
        (await session.CalibrateAsync(Wines)).Expect(200);
        double[] expected = [.. new ReferenceLayer(13).StatisticsOf(Wines).Variance.Select(variance => variance * 178 / divisor)];
        Accuracy.Doubles_are(expected, (await session.CommitAsync()).Expect(200).Numbers("running_var"), "variance");
    }

    [Fact]
    public async Task A_single_value_per_channel_is_gathered_and_two_can_be_committed()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = (await session.CalibrateAsync("""{"x":[[1,2]]}""")).Expect(200);
        answer.ExpectNumbers("mean", 1, 2);
        Assert.Equal(JsonValueKind.Null, answer["var"].ValueKind);
        (await session.RefusedAsync(s => s.CommitAsync())).ExpectProblem("batch-too-small", "1 value per channel");
        (await session.CalibrateAsync("""{"x":[[2,6]]}""")).Expect(200).ExpectNumbers("var", 0.5, 8);
        (await session.CommitAsync()).Expect(200).ExpectNumbers("running_mean", 1.5, 4);
    }

    [Fact]
    public async Task An_empty_batch_moves_nothing()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = (await session.CalibrateAsync("""{"x":{"shape":[0,2],"data":[]}}""")).Expect(200);
        Assert.Equal((1, 0, 0), (answer.Version, answer["batches"].GetInt64(), answer["count"].GetInt64()));
        Assert.Equal((JsonValueKind.Null, JsonValueKind.Null), (answer["mean"].ValueKind, answer["var"].ValueKind));
        (await session.CalibrateAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        var after = (await session.CalibrateAsync("""{"x":{"shape":[0,2],"data":[]}}""")).Expect(200);
        Assert.Equal((2, 1, 2), (after.Version, after["batches"].GetInt64(), after["count"].GetInt64()));
        (await session.CalibrateAsync("""{"x":{"shape":[0,2],"data":[]}}""", ("If-Match", "\"1\""))).ExpectProblem("version-conflict");
    }

    [Fact]
    public async Task A_commit_empties_the_estimate_and_there_is_nothing_to_commit_twice()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.CommitAsync())).ExpectProblem("no-running-statistics", "calibration batches");
        (await session.CalibrateAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        var committed = (await session.CommitAsync(("If-Match", "\"2\""))).Expect(200);
        Assert.Equal((3, "\"3\""), (committed.Version, committed.ETag));
        (await session.RefusedAsync(s => s.CommitAsync())).ExpectProblem("no-running-statistics");
        Assert.Equal(1, (await session.CalibrateAsync("""{"x":[[1,2]]}""")).Expect(200)["count"].GetInt64());
    }

    [Fact]
    public async Task Dropping_forgets_what_was_gathered_as_often_as_one_likes()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        Assert.Equal("\"1\"", (await session.DropCalibrationAsync()).Expect(204).ETag);
        (await session.CalibrateAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        (await session.RefusedAsync(s => s.DropCalibrationAsync(("If-Match", "\"1\"")))).ExpectProblem("version-conflict");
        Assert.Equal("\"3\"", (await session.DropCalibrationAsync(("If-Match", "\"2\""))).Expect(204).ETag);
        Assert.Equal("\"3\"", (await session.DropCalibrationAsync()).Expect(204).ETag);
        (await session.CommitAsync()).ExpectProblem("no-running-statistics");
    }

    [Fact]
    public async Task A_reset_forgets_what_was_gathered()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.CalibrateAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        (await session.ResetAsync(null)).Expect(200);
        (await session.CommitAsync()).ExpectProblem("no-running-statistics");
    }

    [Fact]
    public async Task A_commit_with_a_stale_condition_is_refused()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.CalibrateAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        (await session.RefusedAsync(s => s.CommitAsync(("If-Match", "\"1\"")))).ExpectProblem("version-conflict");
    }

    [Theory]
    [InlineData("reject", "NaN", "element 3 is NaN")]
    [InlineData("propagate", "-Infinity", "element 3 is -Infinity")]
    public async Task What_is_not_finite_is_refused_whatever_the_session_does_with_it_in_training(string policy, string value, string detail)
    {
        var session = await service.CreateAsync($$"""{"num_features":2,"non_finite":"{{policy}}"}""");
        (await session.RefusedAsync(s => s.CalibrateAsync($$"""{"x":[[1,2],[3,"{{value}}"]]}"""))).ExpectProblem("non-finite-input", detail);
        Assert.Equal(0, (await session.CalibrateAsync("""{"x":{"shape":[0,2],"data":[]}}""")).Expect(200)["count"].GetInt64());
    }

    [Theory]
    [InlineData("""{"x":[[1,2,3]]}""", "shape-mismatch", "expected 2 channels")]
    [InlineData("""{"x":[1,2]}""", "shape-mismatch", "2D")]
    [InlineData("""{}""", "malformed-body", "x is missing")]
    [InlineData("""{"x":[[1,2]],"y":1}""", "invalid-option", "'y' is not a field")]
    [InlineData("""{"x":"no"}""", "malformed-body", "x must be a tensor")]
    public async Task A_batch_that_does_not_fit_is_refused(string body, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.CalibrateAsync(body))).ExpectProblem(code, detail);
    }

    [Fact]
    public async Task A_session_without_running_statistics_says_so()
    {
        var session = await service.CreateAsync("""{"num_features":2,"track_running_stats":false}""");
        (await session.RefusedAsync(s => s.CalibrateAsync("""{"x":[[1,2]]}"""))).ExpectProblem("invalid-option", "track_running_stats");
        (await session.RefusedAsync(s => s.CommitAsync())).ExpectProblem("invalid-option", "track_running_stats");
        (await session.RefusedAsync(s => s.MergeAsync("""{"moments":[{"count":1,"mean":[1,2],"m2":[0,0]}]}""")))
            .ExpectProblem("invalid-option", "track_running_stats");
        (await session.DropCalibrationAsync()).Expect(204);
    }

    [Fact]
    public async Task Training_goes_on_while_statistics_are_gathered()
    {
        var session = await service.CreateAsync("""{"num_features":2,"momentum":null}""");
        (await session.CalibrateAsync("""{"x":[[1,2],[3,6]]}""")).Expect(200);
        (await session.TrainAsync("""{"x":[[10,20],[30,60]],"retain":false}""")).Expect(200);
        (await session.StatsAsync()).ExpectNumbers("running_mean", 20, 40);
        (await session.CommitAsync()).Expect(200).ExpectNumbers("running_mean", 2, 4);
        // The cumulative average goes on from the one batch that was committed.
        (await session.TrainAsync("""{"x":[[10,20],[30,60]],"retain":false}""")).Expect(200);
        (await session.StatsAsync()).ExpectNumbers("running_mean", 11, 22);
    }

    [Fact]
    public async Task Per_activation_the_first_batch_fixes_the_number_of_statistics()
    {
        var session = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation"}""");
        (await session.CalibrateAsync(Batch.Random(1, 3, 2, 2))).Expect(200);
        (await session.RefusedAsync(s => s.CalibrateAsync(Batch.Random(1, 3, 2, 3)))).ExpectProblem("shape-mismatch", "4 activations");
        Assert.Equal(4, (await session.CommitAsync()).Expect(200).Numbers("running_mean").Length);
    }

    [Fact]
    public async Task Unknown_sessions_are_not_found()
    {
        var session = new SessionClient(service.Client, "nosuch");
        (await session.CalibrateAsync("""{"x":[[1,2]]}""")).ExpectProblem("session-not-found");
        (await session.CommitAsync()).ExpectProblem("session-not-found");
        (await session.DropCalibrationAsync()).ExpectProblem("session-not-found");
    }

    private static List<Batch> Parts(int seed, int largest)
    {
        var random = new Random(seed);
        var parts = new List<Batch>();
        for (var from = 0; from < Wines.Shape[0];)
        {
            var count = Math.Min(random.Next(1, largest + 1), Wines.Shape[0] - from);
            parts.Add(Wines.Rows(from, count));
            from += count;
        }
        return [.. parts.OrderBy(_ => random.Next())];
    }
}
