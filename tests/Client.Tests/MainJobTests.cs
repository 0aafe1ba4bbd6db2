using BnService.Client.Tests.Harness;

namespace BnService.Client.Tests;

/// <summary>The main job through the client gives the same bits as the same job in JSON.</summary>
public sealed class MainJobTests : IDisposable
{
    private readonly ClientOfService _client = new();
    private readonly Batch _wines = Repository.Wines();

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task Train_backward_with_update_stats_and_inference_answer_what_json_answers()
    {
        var layer = await _client.BatchNormAsync("typed", 13);
        var plain = await _client.Service.CreateAsync("""{"name":"plain","num_features":13}""");
        var dy = Batch.Random(3, 178, 13);

        using var step = await layer.TrainStepAsync(_wines.Data, _wines.Shape);
        var expected = (await plain.TrainAsync(_wines, retain: true)).Expect(200);
        Assert.Equal(_wines.Shape, step.Shape);
        Assert.Equal(expected.Tensor("y").Data, step.Y.ToArray());
        Assert.Equal(expected.Numbers("batch_mean"), step.BatchMean);
        Assert.Equal(expected.Numbers("batch_var"), step.BatchVar);
        Assert.Equal((178, 1, 2), (step.Count, step.NumBatchesTracked, step.Version));
        Assert.NotNull(step.StepId);

        using var gradients = await layer.BackwardAsync(step, dy.Data, new BackwardOptions { Update = ParameterUpdate.Sgd(0.1, momentum: 0.9) });
        var backward = (await plain.BackwardAsync(expected.StepId!, dy, """{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9}""")).Expect(200);
        Assert.Equal(backward.Tensor("dx").Data, gradients.Dx.ToArray());
        Assert.Equal(backward.Numbers("dgamma"), gradients.Dgamma);
        Assert.Equal(backward.Numbers("dbeta"), gradients.Dbeta);
        Assert.Equal(backward.Numbers("gamma"), gradients.Gamma);
        Assert.Equal(backward.Numbers("beta"), gradients.Beta);
        Assert.Equal((3, false), (gradients.Version, gradients.FollowUpdate));

        var stats = await layer.StatsAsync();
        var known = (await plain.StatsAsync()).Expect(200);
        Assert.Equal(known.Numbers("running_mean"), stats.RunningMean);
        Assert.Equal(known.Numbers("running_var"), stats.RunningVar);
        Assert.Equal(known.Numbers("gamma"), stats.Gamma);
        Assert.Equal((1, 3, 178), (stats.NumBatchesTracked, stats.Version, stats.LastBatch!.Count));
        Assert.NotNull(stats.Diagnostics!.Drift);

        using var inferred = await layer.InferAsync(_wines.Rows(4, 1).Data, [1, 13]);
        Assert.Equal((await plain.InferAsync(_wines.Rows(4, 1))).Expect(200).Tensor("y").Data, inferred.Y.ToArray());
        Assert.Equal(3, inferred.Version);
    }

    [Fact]
    public async Task Outputs_lie_in_the_callers_memory_where_it_is_given()
    {
        var layer = await _client.BatchNormAsync("given", 13);
        var (y, served, dx) = (new float[_wines.Data.Length + 5], new float[_wines.Data.Length], new float[_wines.Data.Length]);
        using var step = await layer.TrainStepAsync(_wines.Data, _wines.Shape, y);
        Assert.True(step.Y.Span.Overlaps(y) && step.Y.Length == _wines.Data.Length);
        Assert.Equal([0, 0, 0, 0, 0], y[_wines.Data.Length..]);
        using var inferred = await layer.InferAsync(_wines.Data, _wines.Shape, served);
        Assert.True(inferred.Y.Span == served);
        using var gradients = await layer.BackwardAsync(step, y.AsMemory(0, _wines.Data.Length), dx);
        Assert.True(gradients.Dx.Span == dx);
        Assert.Contains(dx, value => value != 0);

        await Assert.ThrowsAsync<ArgumentException>(() => layer.TrainStepAsync(_wines.Data, _wines.Shape, new float[3]));
        await Assert.ThrowsAsync<ArgumentException>(() => layer.TrainStepAsync(y.AsMemory(0, 26), [2, 13], y.AsMemory(20)));
        await Assert.ThrowsAsync<ArgumentException>(() => layer.TrainStepAsync(_wines.Data, [177, 13]));
        Assert.Equal(2, (await layer.GetAsync()).Version);
    }

    [Fact]
    public async Task Memory_that_was_given_back_cannot_be_read()
    {
        var layer = await _client.BatchNormAsync("back", 13);
        var step = await layer.TrainStepAsync(_wines.Data, _wines.Shape);
        step.Dispose();
        step.Dispose();
        Assert.Throws<ObjectDisposedException>(() => step.Y);
        using var gradients = await layer.BackwardAsync(step, _wines.Data);
        Assert.Equal(_wines.Data.Length, gradients.Dx.Length);
    }

    [Fact]
    public async Task Mask_residual_and_activation_go_with_the_step_and_come_back_with_its_gradients()
    {
        var layer = await _client.Client.CreateSessionAsync("masked", new BatchNormOptions { NumFeatures = 3, Activation = Activation.Relu });
        var plain = await _client.Service.CreateAsync("""{"name":"plain","num_features":3,"activation":"relu"}""");
        var (x, residual, dy) = (Batch.Random(1, 4, 3), Batch.Random(2, 4, 3), Batch.Random(3, 4, 3));
        using var step = await layer.TrainStepAsync(x.Data, x.Shape,
            new TrainStepOptions { Mask = new[] { true, true, false, true }, Residual = residual.Data, Retain = false });
        var expected = (await plain.TrainAsync($$"""{"x":{{x.Json}},"residual":{{residual.Json}},"mask":[1,1,0,1],"retain":false}""")).Expect(200);
        Assert.Equal(expected.Tensor("y").Data, step.Y.ToArray());
        Assert.Null(step.StepId);
        // Of a step that was not kept, x, mask and residual are sent again.
        using var gradients = await layer.BackwardAsync(step, dy.Data);
        var backward = (await plain.BackwardAsync($$"""{"x":{{x.Json}},"residual":{{residual.Json}},"mask":[1,1,0,1],"dy":{{dy.Json}}}""")).Expect(200);
        Assert.Equal(backward.Tensor("dx").Data, gradients.Dx.ToArray());
        Assert.Equal(backward.Tensor("dresidual").Data, gradients.Dresidual!.Value.ToArray());
    }

    [Fact]
    public async Task An_empty_batch_and_the_largest_dimensions_are_tensors_too()
    {
        var layer = await _client.BatchNormAsync("empty", 2);
        using var step = await layer.TrainStepAsync(ReadOnlyMemory<float>.Empty, [0, 2]);
        Assert.Equal((0, 0), (step.Y.Length, step.NumBatchesTracked));
        var x = Batch.Random(5, 2, 2, 3, 2, 2);
        using var served = await layer.InferAsync(x.Data, x.Shape);
        Assert.Equal(x.Shape, served.Shape);
    }

    [Fact]
    public async Task Through_running_statistics_the_gradient_of_an_input_is_another_one()
    {
        var layer = await _client.BatchNormAsync("constant", 3);
        var plain = await _client.Service.CreateAsync("""{"name":"plain","num_features":3}""");
        var (x, dy) = (Batch.Random(1, 6, 3), Batch.Random(2, 6, 3));
        using var gradients = await layer.BackwardAsync(x.Data, x.Shape, dy.Data, new InputBackwardOptions { Mode = BackwardMode.Inference });
        Assert.Equal((await plain.BackwardAsync($$"""{"x":{{x.Json}},"dy":{{dy.Json}},"mode":"inference"}""")).Expect(200).Tensor("dx").Data, gradients.Dx.ToArray());
    }
}
