namespace BnService.Api.Tests.Layer;

/// <summary>The edges that mathematics.md fixes.</summary>
public sealed class EdgeTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("""{"num_features":3}""", "[1,3]", "[1, 3]")]
    [InlineData("""{"num_features":3}""", "[1,3,1]", "[1, 3, 1]")]
    [InlineData("""{"num_features":3}""", "[1,3,1,1]", "[1, 3, 1, 1]")]
    [InlineData("""{"num_features":3,"channel_axis":-1}""", "[1,1,3]", "[1, 1, 3]")]
    [InlineData("""{"num_features":1,"granularity":"per_activation"}""", "[1,1,3]", "[1, 1, 3]")]
    public async Task One_value_per_channel_cannot_be_trained_on(string options, string shape, string words)
    {
        var session = await service.CreateAsync(options);
        var body = $"{{\"x\":{{\"shape\":{shape},\"data\":[1,2,3]}}}}";
        var answer = await session.RefusedAsync(s => s.TrainAsync(body));
        Assert.Equal($"x: expected more than 1 value per channel when training, got input size {words}", answer.ExpectProblem("batch-too-small").Detail);
        (await session.RefusedAsync(s => s.BackwardAsync($"{{\"x\":{{\"shape\":{shape},\"data\":[1,2,3]}},\"dy\":{{\"shape\":{shape},\"data\":[1,2,3]}}}}")))
            .ExpectProblem("batch-too-small", words);
        (await session.InferAsync(body)).Expect(200);
    }

    [Fact]
    public async Task Without_running_statistics_a_single_example_cannot_be_inferred_either()
    {
        var session = await service.CreateAsync("""{"num_features":3,"track_running_stats":false}""");
        (await session.RefusedAsync(s => s.InferAsync("""{"x":[[1,2,3]]}"""))).ExpectProblem("batch-too-small", "[1, 3]");
    }

    [Fact]
    public async Task Without_running_statistics_inference_and_its_gradient_use_the_batchs_own()
    {
        var session = await service.CreateAsync("""{"num_features":3,"track_running_stats":false}""");
        var (x, dy, layer) = (Batch.Random(1, 6, 3), Batch.Random(2, 6, 3), new ReferenceLayer(3));
        Accuracy.Outputs_are(layer.Output(x, layer.StatisticsOf(x)), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
        Accuracy.Gradients_are(layer.BackwardThroughBatch(x, dy), x, (await session.BackwardAsync(x, dy, "inference")).Expect(200));
    }

    [Theory]
    [InlineData("""{"num_features":3}""", "[0,3]")]
    [InlineData("""{"num_features":3}""", "[0,3,4,4]")]
    [InlineData("""{"num_features":3}""", "[2,3,0]")]
    [InlineData("""{"num_features":3,"channel_axis":-1}""", "[0,5,3]")]
    [InlineData("""{"num_features":3,"granularity":"per_activation"}""", "[0,3]")]
    [InlineData("""{"num_features":3,"activation":"relu","bias":false}""", "[0,3]")]
    [InlineData("""{"num_features":3,"track_running_stats":false}""", "[0,3]")]
    public async Task An_empty_batch_gives_an_empty_answer_and_moves_nothing(string options, string shape)
    {
        var session = await service.CreateAsync(options);
        var before = await session.StateAsync();
        var tensor = $"{{\"shape\":{shape},\"data\":[]}}";
        var answer = (await session.TrainAsync($"{{\"x\":{tensor}}}")).Expect(200);
        Assert.Equal($"[{string.Join(',', answer.Tensor("y").Shape)}]", shape);
        Assert.Empty(answer.Tensor("y").Data);
        answer.ExpectNumbers("batch_mean", 0, 0, 0);
        Assert.Equal(0, answer["count"].GetInt64());
        Assert.Equal(0, answer["num_batches_tracked"].GetInt64());
        Assert.Empty((await session.InferAsync($"{{\"x\":{tensor}}}")).Expect(200).Tensor("y").Data);
        const string update = """{"optimizer":"adamw","learning_rate":1,"weight_decay":0.5}""";
        foreach (var through in (string[])[$"\"step_id\":\"{answer.StepId}\"", $"\"x\":{tensor}"])
        {
            var gradients = (await session.BackwardAsync($"{{{through},\"dy\":{tensor},\"update\":{update}}}")).Expect(200);
            Assert.Empty(gradients.Tensor("dx").Data);
            gradients.ExpectNumbers("dgamma", 0, 0, 0);
        }
        Assert.Equal(before, await session.StateAsync());
    }

    /// <summary>Whatever the constant: x̂ is exactly 0, y exactly beta.</summary>
    [Theory]
    [InlineData("100", "1e-5")]
    [InlineData("0.1", "1e-5")]
    [InlineData("1.2345678e10", "1e-5")]
    [InlineData("-3.4028234663852886e38", "1e-5")]
    [InlineData("1e-45", "1e-5")]
    [InlineData("0", "0")]
    [InlineData("0.1", "0")]
    [InlineData("1.2345678e10", "0")]
    public async Task A_constant_channel_is_normalized_to_beta(string constant, string eps)
    {
        var session = await service.CreateAsync($$"""{"num_features":1,"eps":{{eps}},"gamma_init":3,"beta_init":0.75}""");
        var x = $"[{string.Join(',', Enumerable.Repeat($"[{constant}]", 37))}]";
        var answer = (await session.TrainAsync($$"""{"x":{{x}}}""")).Expect(200);
        Assert.All(answer.Tensor("y").Data, y => Assert.Equal(0.75f, y));
        answer.ExpectNumbers("batch_var", 0);
        Assert.Equal(float.Parse(constant), (float)answer.Numbers("batch_mean")[0]);
        var gradients = (await session.BackwardAsync($$"""{"x":{{x}},"dy":{{x}}}""")).Expect(200);
        gradients.ExpectNumbers("dgamma", 0);
    }

    [Theory]
    [InlineData(3e38f, -3e38f, 3.2e38f, 1e38f)]
    [InlineData(1e30f, -1e30f, 2e30f, 5e29f)]
    [InlineData(1e-30f, -1e-30f, 2e-30f, 0f)]
    [InlineData(1e-45f, 0f, 3e-45f, 1e-45f)]
    public async Task Numbers_near_the_ends_of_float_are_normalized_as_exactly_as_others(params float[] values)
    {
        var session = await service.CreateAsync("""{"num_features":1,"eps":0}""");
        var (x, layer) = (new Batch([4, 1], values), new ReferenceLayer(1) { Eps = 0 });
        var answer = (await session.TrainAsync(x)).Expect(200);
        Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
        Accuracy.Batch_statistics_are(layer.StatisticsOf(x), x, answer);
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
    }

    /// <summary>Where the frameworks lose all digits: a mean of a million with steps of a sixteenth.</summary>
    [Fact]
    public async Task A_large_mean_costs_no_accuracy()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var (x, layer) = (new Batch([512, 2], [.. Enumerable.Range(0, 1024).Select(i => 1_000_000 + (i * 7 % 5 * 0.0625f))]), new ReferenceLayer(2));
        var answer = (await session.TrainAsync(x)).Expect(200);
        Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
        Accuracy.Batch_statistics_are(layer.StatisticsOf(x), x, answer);
    }

    [Fact]
    public async Task With_require_statistics_inference_waits_for_the_first_batch()
    {
        var session = await service.CreateAsync("""{"num_features":2,"require_statistics":true}""");
        const string x = """{"x":[[1,2],[3,4]]}""";
        (await session.RefusedAsync(s => s.InferAsync(x))).ExpectProblem("no-running-statistics", "running statistics");
        (await session.TrainAsync("""{"x":{"shape":[0,2],"data":[]}}""")).Expect(200);
        (await session.RefusedAsync(s => s.InferAsync(x))).ExpectProblem("no-running-statistics");
        (await session.TrainAsync(x)).Expect(200);
        (await session.InferAsync(x)).Expect(200);
        (await session.ResetAsync(null)).Expect(200);
        (await session.RefusedAsync(s => s.InferAsync(x))).ExpectProblem("no-running-statistics");
        (await session.PutRunningStatsAsync("""{"running_mean":[0,0]}""")).Expect(200);
        (await session.InferAsync(x)).Expect(200);
    }

    [Fact]
    public async Task With_require_statistics_a_frozen_session_waits_for_the_first_batch_too()
    {
        var session = await service.CreateAsync("""{"num_features":2,"require_statistics":true,"mode":"frozen"}""");
        (await session.RefusedAsync(s => s.TrainAsync("""{"x":[[1,2],[3,4]]}"""))).ExpectProblem("no-running-statistics");
    }

    [Fact]
    public async Task Without_require_statistics_a_new_session_infers_with_mean_0_and_variance_1()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var (x, layer) = (Batch.Random(1, 3, 2), new ReferenceLayer(2));
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
    }
}
