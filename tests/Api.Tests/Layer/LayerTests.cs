namespace BnService.Api.Tests.Layer;

/// <summary>The numbers of the main calls, for every layout and option, against the definition in double.</summary>
public sealed class LayerTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string> Cases => LayerCases.Names;

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Train_steps_normalize_with_the_batch_and_move_the_running_statistics(string name)
    {
        var layerCase = LayerCases.Named(name);
        var (session, layer) = await layerCase.CreateAsync(service);
        var version = (await session.GetAsync()).Version;
        for (var step = 1; step <= 3; step++)
        {
            var x = Batch.Random(step, layerCase.Shape);
            var answer = (await session.TrainAsync(x)).Expect(200);
            Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
            Accuracy.Batch_statistics_are(layer.StatisticsOf(x), x, answer);
            Assert.Equal(step, answer["num_batches_tracked"].GetInt64());
            Assert.Equal(version + step, answer.Version);
            var stats = await session.StatsAsync();
            Accuracy.Running_statistics_are(layer.Running, x, stats);
            Assert.Equal(answer.Version, stats.Version);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Inference_uses_the_running_statistics_and_changes_nothing(string name)
    {
        var layerCase = LayerCases.Named(name);
        var (session, layer) = await layerCase.CreateAsync(service);
        var x = Batch.Random(1, layerCase.Shape);
        (await session.TrainAsync(x)).Expect(200);
        layer.Train(x);
        var before = await session.StateAsync();
        var other = Batch.Random(2, [3, .. layerCase.Shape[1..]]);
        var answer = (await session.InferAsync(other)).Expect(200);
        Accuracy.Outputs_are(layer.Infer(other), other, answer.Tensor("y"));
        Assert.Equal(before, await session.StateAsync());

        // One example at a time gives the same bits as all of them together.
        for (var row = 0; row < 3; row++)
        {
            var alone = (await session.InferAsync(other.Rows(row, 1))).Expect(200).Tensor("y");
            Assert.Equal(answer.Tensor("y").Rows(row, 1).Data, alone.Data);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Gradients_flow_through_the_batch_or_through_the_running_statistics(string name)
    {
        var layerCase = LayerCases.Named(name);
        var (session, layer) = await layerCase.CreateAsync(service);
        var (x, dy) = (Batch.Random(1, layerCase.Shape), Batch.Random(2, layerCase.Shape));
        var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
        layer.Train(x);
        var before = await session.StateAsync();
        var throughBatch = layer.BackwardThroughBatch(x, dy);
        var throughStep = (await session.BackwardAsync(step, dy)).Expect(200);
        Accuracy.Gradients_are(throughBatch, x, throughStep);
        var throughInput = (await session.BackwardAsync(x, dy)).Expect(200);
        Assert.Equal(throughStep.Text, throughInput.Text);
        Assert.Equal(throughStep.Text, (await session.BackwardAsync(x, dy, "train")).Expect(200).Text);
        var inference = (await session.BackwardAsync(x, dy, "inference")).Expect(200);
        Accuracy.Gradients_are(layer.BackwardThroughRunning(x, dy), x, inference);
        Assert.Equal(before, await session.StateAsync());

        foreach (var answer in (Answer[])[throughStep, inference])
        {
            Assert.Equal(layerCase.HasGamma, answer.Has("dgamma"));
            Assert.Equal(layerCase.HasBeta, answer.Has("dbeta"));
            Assert.False(answer.Has("gamma") || answer.Has("beta"));
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Nested_arrays_say_the_same_as_a_shape_and_flat_data(string name)
    {
        var layerCase = LayerCases.Named(name);
        var (session, _) = await layerCase.CreateAsync(service);
        var (x, dy) = (Batch.Random(1, layerCase.Shape), Batch.Random(2, layerCase.Shape));
        (await session.TrainAsync(x)).Expect(200);
        Assert.Equal((await session.InferAsync(x)).Expect(200).Text, (await session.InferAsync($$"""{"x":{{x.NestedJson}}}""")).Expect(200).Text);
        var flat = (await session.BackwardAsync(x, dy)).Expect(200);
        var mixed = (await session.BackwardAsync($$"""{"dy":{{dy.Json}},"x":{{x.NestedJson}}}""")).Expect(200);
        Assert.Equal(flat.Text, mixed.Text);
        // data before shape is the same tensor.
        var reversed = $"{{\"x\":{{\"data\":[{string.Join(',', x.Data.Select(Batch.Text))}],\"shape\":[{string.Join(',', x.Shape)}]}}}}";
        Assert.Equal((await session.InferAsync(x)).Text, (await session.InferAsync(reversed)).Expect(200).Text);
    }
}
