namespace BnService.Api.Tests.Layer;

/// <summary>One statistic per position of a sample: the first batch decides how many there are.</summary>
public sealed class PerActivationTests(Service service) : IClassFixture<Service>
{
    private const string Options = """{"num_features":2,"granularity":"per_activation"}""";

    [Fact]
    public async Task The_first_batch_fixes_the_number_of_statistics()
    {
        var session = await service.CreateAsync(Options);
        (await session.TrainAsync(Batch.Random(1, 4, 2, 3))).Expect(200);
        var stats = await session.StatsAsync();
        foreach (var field in (string[])["gamma", "beta", "running_mean", "running_var"]) Assert.Equal(6, stats.Numbers(field).Length);
        var answer = await session.RefusedAsync(s => s.TrainAsync(Batch.Random(1, 4, 2, 4)));
        answer.ExpectProblem("shape-mismatch", "expected 6 activations per sample", "got 8");
        (await session.RefusedAsync(s => s.InferAsync(Batch.Random(1, 4, 2, 4)))).ExpectProblem("shape-mismatch");
        (await session.RefusedAsync(s => s.BackwardAsync(Batch.Random(1, 4, 2), Batch.Random(1, 4, 2)))).ExpectProblem("shape-mismatch");
        // Any layout of the same positions goes on.
        (await session.TrainAsync(Batch.Random(2, 5, 2, 1, 3))).Expect(200);
        Assert.Equal(2, (await session.GetAsync())["num_features"].GetInt32());
    }

    [Fact]
    public async Task A_batch_without_samples_cannot_ask_for_a_billion_statistics()
    {
        var session = await service.CreateAsync(Options);
        const string x = """{"shape":[0,2,20000,20000],"data":[]}""";
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":{{x}}}"""))).ExpectProblem("limit-reached", "Limits:MaxFeatures", "got 800000000");
        (await session.RefusedAsync(s => s.InferAsync($$"""{"x":{{x}}}"""))).ExpectProblem("limit-reached");
        (await session.RefusedAsync(s => s.BackwardAsync($$"""{"x":{{x}},"dy":{{x}}}"""))).ExpectProblem("limit-reached");
    }

    [Fact]
    public async Task Samples_without_positions_move_nothing()
    {
        var session = await service.CreateAsync(Options);
        var before = await session.StateAsync();
        const string x = """{"shape":[4,2,0],"data":[]}""";
        (await session.TrainAsync($$"""{"x":{{x}}}""")).Expect(200);
        (await session.InferAsync($$"""{"x":{{x}}}""")).Expect(200);
        (await session.BackwardAsync($$"""{"x":{{x}},"dy":{{x}},"update":{"optimizer":"sgd"} }""")).Expect(200);
        Assert.Equal(before, await session.StateAsync());
    }

    [Fact]
    public async Task Inference_and_gradients_before_the_first_batch_fix_nothing()
    {
        var session = await service.CreateAsync(Options);
        var before = await session.StateAsync();
        var (x, layer) = (Batch.Random(1, 4, 2, 3), new ReferenceLayer(6) { PerActivation = true });
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
        Accuracy.Gradients_are(layer.BackwardThroughBatch(x, x), x, (await session.BackwardAsync(x, x)).Expect(200));
        (await session.TrainAsync("""{"x":{"shape":[0,2,3],"data":[]}}""")).Expect(200);
        Assert.Equal(before, await session.StateAsync());
        (await session.TrainAsync(Batch.Random(2, 4, 2, 5))).Expect(200);
    }

    [Fact]
    public async Task A_refused_batch_fixes_nothing()
    {
        var session = await service.CreateAsync(Options);
        (await session.RefusedAsync(s => s.TrainAsync("""{"x":{"shape":[2,2,2],"data":[1,2,3,4,5,6,7,"NaN"]}}""")))
            .ExpectProblem("non-finite-input");
        (await session.TrainAsync(Batch.Random(2, 4, 2, 5))).Expect(200);
    }

    [Theory]
    [InlineData("parameters", """{"gamma":[1,2,3,4,5,6]}""")]
    [InlineData("running-stats", """{"running_mean":[1,2,3,4,5,6]}""")]
    public async Task Values_from_outside_fix_it_as_well(string call, string body)
    {
        var session = await service.CreateAsync(Options);
        (await service.Client.PutAsync($"{session.Path}/{call}", body)).Expect(200);
        Assert.Equal(6, (await session.StatsAsync()).Numbers("running_var").Length);
        (await session.RefusedAsync(s => s.TrainAsync(Batch.Random(1, 4, 2, 2)))).ExpectProblem("shape-mismatch", "expected 6 activations");
        (await session.TrainAsync(Batch.Random(1, 4, 2, 3))).Expect(200);
    }

    [Fact]
    public async Task An_update_fixes_it_as_well()
    {
        var session = await service.CreateAsync(Options);
        var x = Batch.Random(1, 4, 2, 3);
        Assert.Equal(6, (await session.BackwardAsync(x, x, update: """{"optimizer":"sgd"}""")).Expect(200).Numbers("gamma").Length);
        (await session.RefusedAsync(s => s.TrainAsync(Batch.Random(1, 4, 2, 2)))).ExpectProblem("shape-mismatch");
    }

    [Theory]
    [InlineData("""{"gamma":[1,2,3]}""")]
    [InlineData("""{"gamma":[]}""")]
    public async Task Values_that_are_no_whole_number_of_positions_are_refused(string body)
    {
        var session = await service.CreateAsync(Options);
        (await session.RefusedAsync(s => s.PutParametersAsync(body))).ExpectProblem("shape-mismatch", "gamma must have 2 values");
    }

    [Fact]
    public async Task The_size_stays_fixed_through_a_reset()
    {
        var session = await service.CreateAsync(Options);
        (await session.TrainAsync(Batch.Random(1, 4, 2, 3))).Expect(200);
        (await session.ResetAsync("""{"parameters":true}""")).Expect(200);
        Assert.Equal(6, (await session.StatsAsync()).Numbers("running_mean").Length);
        (await session.RefusedAsync(s => s.TrainAsync(Batch.Random(1, 4, 2, 4)))).ExpectProblem("shape-mismatch");
    }
}
