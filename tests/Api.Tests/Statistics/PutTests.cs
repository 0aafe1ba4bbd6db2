namespace BnService.Api.Tests.Statistics;

/// <summary>Parameters and running statistics that are put in from outside.</summary>
public sealed class PutTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task Parameters_are_set_together_or_one_by_one()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var both = (await session.PutParametersAsync("""{"gamma":[2,-3],"beta":[0.5,0]}""")).Expect(200);
        Assert.Equal(2, both.Version);
        both.ExpectNumbers("gamma", 2, -3);
        both.ExpectNumbers("beta", 0.5, 0);
        var gamma = (await session.PutParametersAsync("""{"gamma":[5,6]}""")).Expect(200);
        gamma.ExpectNumbers("gamma", 5, 6);
        gamma.ExpectNumbers("beta", 0.5, 0);
        var beta = (await session.PutParametersAsync("""{"beta":[7,8],"gamma":null}""")).Expect(200);
        beta.ExpectNumbers("gamma", 5, 6);
        beta.ExpectNumbers("beta", 7, 8);
        Assert.Equal(4, beta.Version);
        var x = Batch.Random(1, 3, 2);
        var layer = new ReferenceLayer(2) { Gamma = [5, 6], Beta = [7, 8] };
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
    }

    [Fact]
    public async Task Running_statistics_are_set_together_or_one_by_one()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var all = (await session.PutRunningStatsAsync("""{"running_mean":[2.5,-25],"running_var":[1.25,0],"num_batches_tracked":7}""")).Expect(200);
        Assert.Equal(2, all.Version);
        all.ExpectNumbers("running_mean", 2.5, -25);
        all.ExpectNumbers("running_var", 1.25, 0);
        Assert.Equal(7, all["num_batches_tracked"].GetInt64());
        (await session.PutRunningStatsAsync("""{"running_mean":[1,1]}""")).Expect(200).ExpectNumbers("running_var", 1.25, 0);
        (await session.PutRunningStatsAsync("""{"running_var":[4,9],"running_mean":null}""")).Expect(200).ExpectNumbers("running_mean", 1, 1);
        var count = (await session.PutRunningStatsAsync("""{"num_batches_tracked":0}""")).Expect(200);
        count.ExpectNumbers("running_var", 4, 9);
        Assert.Equal(0, count["num_batches_tracked"].GetInt64());
        var x = Batch.Random(1, 3, 2);
        var layer = new ReferenceLayer(2) { Running = new ReferenceStatistics([1, 1], [4, 9], 0) };
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
    }

    [Fact]
    public async Task A_cumulative_average_goes_on_from_the_number_of_batches_that_was_set()
    {
        var session = await service.CreateAsync("""{"num_features":1,"momentum":null}""");
        (await session.PutRunningStatsAsync("""{"running_mean":[10],"running_var":[5],"num_batches_tracked":9}""")).Expect(200);
        Assert.Equal(10, (await session.TrainAsync("""{"x":[[19],[21]]}""")).Expect(200)["num_batches_tracked"].GetInt64());
        var stats = await session.StatsAsync();
        Accuracy.Doubles_are([11], stats.Numbers("running_mean"), "running_mean");
        Accuracy.Doubles_are([(0.9 * 5) + (0.1 * 2)], stats.Numbers("running_var"), "running_var");
    }

    /// <summary>What is put in comes out with the same bits: statistics live in double.</summary>
    [Fact]
    public async Task Doubles_go_both_ways_without_loss()
    {
        double[] values = [0.1, 1.0 / 3, 5e-324, double.MaxValue, 123456789.123456789, 1e-300, Math.PI, 16777217];
        var session = await service.CreateAsync($$"""{"num_features":{{values.Length}}}""");
        var negative = values.Select(value => -value).ToArray();
        (await session.PutRunningStatsAsync($"{{\"running_mean\":{Batch.Array(negative)},\"running_var\":{Batch.Array(values)}}}")).Expect(200);
        (await session.PutParametersAsync($$"""{"gamma":{{Batch.Array(values)}}}""")).Expect(200);
        var stats = await session.StatsAsync();
        stats.ExpectNumbers("running_mean", negative);
        stats.ExpectNumbers("running_var", values);
        stats.ExpectNumbers("gamma", values);
    }

    [Theory]
    [InlineData("parameters", """{"gamma":[1]}""", "shape-mismatch", "gamma must have 2 values, one per statistic, got 1")]
    [InlineData("parameters", """{"gamma":[1,1],"beta":[1,2,3]}""", "shape-mismatch", "beta must have 2 values, one per statistic, got 3")]
    [InlineData("parameters", """{"gamma":[]}""", "shape-mismatch", "gamma must have 2 values, one per statistic, got 0")]
    [InlineData("parameters", """{"gamma":[1,"NaN"]}""", "invalid-option", "gamma[1] must be a finite number, got NaN")]
    [InlineData("parameters", """{"beta":["-Infinity",1]}""", "invalid-option", "beta[0] must be a finite number, got -Infinity")]
    [InlineData("parameters", """{"gamma":[1,1e400]}""", "invalid-option", "gamma[1] must be a finite number")]
    [InlineData("parameters", """{"gamma":[1,null]}""", "invalid-option", "gamma[1] must be a number")]
    [InlineData("parameters", """{"gamma":[[1,2]]}""", "invalid-option", "gamma[0] must be a number")]
    [InlineData("parameters", """{"gamma":{"shape":[2],"data":[1,2]}}""", "invalid-option", "gamma must be an array of numbers, got an object")]
    [InlineData("parameters", """{"gamma":1}""", "invalid-option", "gamma must be an array of numbers, got 1")]
    [InlineData("parameters", """{"gamma":["1",2]}""", "invalid-option", "gamma[0] must be a number")]
    [InlineData("parameters", """{}""", "invalid-option", "send gamma, beta or both")]
    [InlineData("parameters", """{"gamma":null,"beta":null}""", "invalid-option", "send gamma, beta or both")]
    [InlineData("parameters", """{"weight":[1,2]}""", "invalid-option", "'weight' is not a field of this call; allowed: gamma, beta")]
    [InlineData("running-stats", """{"running_mean":[1,2,3]}""", "shape-mismatch", "running_mean must have 2 values, one per statistic, got 3")]
    [InlineData("running-stats", """{"running_mean":[1,2],"running_var":[1]}""", "shape-mismatch", "running_var must have 2 values, one per statistic, got 1")]
    [InlineData("running-stats", """{"running_mean":["NaN",2]}""", "invalid-option", "running_mean[0] must be a finite number, got NaN")]
    [InlineData("running-stats", """{"running_var":[1,"Infinity"]}""", "invalid-option", "running_var[1] must be a finite number, got Infinity")]
    [InlineData("running-stats", """{"running_var":[1,-1e-300]}""", "invalid-option", "running_var[1] must be 0 or more, got -1E-300")]
    [InlineData("running-stats", """{"num_batches_tracked":-1}""", "invalid-option", "num_batches_tracked must be 0 or more, got -1")]
    [InlineData("running-stats", """{"num_batches_tracked":1.5}""", "invalid-option", "num_batches_tracked must be a whole number, got 1.5")]
    [InlineData("running-stats", """{"num_batches_tracked":9223372036854775808}""", "invalid-option", "num_batches_tracked must be a whole number")]
    [InlineData("running-stats", """{"num_batches_tracked":"1"}""", "invalid-option", "num_batches_tracked must be a whole number, got \"1\"")]
    [InlineData("running-stats", """{}""", "invalid-option", "send running_mean, running_var or num_batches_tracked")]
    [InlineData("running-stats", """{"mean":[1,2]}""", "invalid-option", "'mean' is not a field of this call; allowed: running_mean, running_var, num_batches_tracked")]
    public async Task What_no_layer_can_have_is_refused(string call, string body, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => service.Client.PutAsync($"{s.Path}/{call}", body))).ExpectProblem(code, detail);
    }

    [Theory]
    [InlineData("""{"num_features":2,"affine":false}""", """{"gamma":[1,2]}""", "gamma was sent, but the session has none")]
    [InlineData("""{"num_features":2,"bias":false}""", """{"gamma":[1,2],"beta":[1,2]}""", "beta was sent, but the session has none")]
    public async Task A_parameter_that_the_session_does_not_have_cannot_be_set(string options, string body, string detail)
    {
        var session = await service.CreateAsync(options);
        (await session.RefusedAsync(s => s.PutParametersAsync(body))).ExpectProblem("invalid-option", detail);
    }

    [Fact]
    public async Task Running_statistics_that_are_not_tracked_cannot_be_set()
    {
        var session = await service.CreateAsync("""{"num_features":2,"track_running_stats":false}""");
        (await session.RefusedAsync(s => s.PutRunningStatsAsync("""{"running_mean":[1,2]}""")))
            .ExpectProblem("invalid-option", "running statistics need a session with track_running_stats true");
    }

    [Fact]
    public async Task Without_beta_the_answer_says_null()
    {
        var session = await service.CreateAsync("""{"num_features":2,"bias":false}""");
        var answer = (await session.PutParametersAsync("""{"gamma":[1,2]}""")).Expect(200);
        Assert.Equal(System.Text.Json.JsonValueKind.Null, answer["beta"].ValueKind);
    }
}
