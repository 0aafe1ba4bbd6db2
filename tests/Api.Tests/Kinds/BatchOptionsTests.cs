namespace BnService.Api.Tests.Kinds;

/// <summary>What surrounds batch statistics: masks, ghost batches, renormalization, and instance statistics that are tracked.</summary>
public sealed class BatchOptionsTests(Service service) : IClassFixture<Service>
{
    private static readonly int[] Shape = [7, 3, 4];

    [Theory]
    [InlineData("none")]
    [InlineData("relu")]
    public async Task Masked_samples_are_normalized_but_do_not_count(string activation)
    {
        int[] mask = [1, 0, 1, 1, 0, 0, 1];
        var session = await service.CreateAsync($$"""{"num_features":3,"activation":"{{activation}}"}""");
        var reference = ReferenceKind.Of("batch_norm", Shape, 3) with
        {
            Valid = [.. Enumerable.Range(0, 84).Select(i => mask[i / 12] == 1)],
            Relu = activation == "relu",
        };
        var (x, dy) = (Batch.Random(1, Shape), Batch.Random(2, Shape));
        var step = (await session.TrainAsync($$"""{"x":{{x.Json}},"mask":[{{string.Join(',', mask)}}]}""")).Expect(200);
        Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
        Accuracy.Batch_statistics_are(reference.StatisticsOf(x), x, step);
        Assert.Equal(16, step["count"].GetInt64());
        var running = (await session.StatsAsync()).Numbers("running_var");
        Accuracy.Doubles_are([.. reference.StatisticsOf(x).Variance.Select(variance => 0.9 + (0.1 * variance * 16 / 15))], running, "running_var");

        var gradients = reference.Differentiate(x, dy).Gradients;
        Accuracy.Gradients_are(gradients, x, (await session.BackwardAsync($$"""{"step_id":"{{step.StepId}}","dy":{{dy.Json}}}""")).Expect(200));
        Accuracy.Gradients_are(gradients, x,
            (await session.BackwardAsync($$"""{"x":{{x.Json}},"mask":[{{string.Join(',', mask)}}],"dy":{{dy.Json}}}""")).Expect(200));
    }

    [Theory]
    [InlineData(3, new[] { 3, 4 })] // the seventh sample, left alone, joins the ghost batch before it
    [InlineData(2, new[] { 2, 2, 3 })]
    [InlineData(5, new[] { 5, 2 })]
    [InlineData(100, new[] { 7 })]
    public async Task Ghost_batches_are_normalized_by_themselves_and_move_the_statistics_in_order(int size, int[] parts)
    {
        var session = await service.CreateAsync($$"""{"num_features":3,"momentum":0.25,"ghost_batch_size":{{size}}}""");
        var (x, dy) = (Batch.Random(1, Shape), Batch.Random(2, Shape));
        var step = (await session.TrainAsync(x, retain: true)).Expect(200);
        var backward = (await session.BackwardAsync(step.StepId!, dy)).Expect(200);
        double[] mean = [0, 0, 0], dgamma = [0, 0, 0];
        var first = 0;
        foreach (var samples in parts)
        {
            var (part, gradient) = (x.Rows(first, samples), dy.Rows(first, samples));
            var reference = ReferenceKind.Of("batch_norm", part.Shape, 3);
            Accuracy.Outputs_are(reference.Output(part), part, step.Tensor("y").Rows(first, samples));
            var expected = reference.Differentiate(part, gradient).Gradients;
            Assert.All(expected.Dx.Zip(backward.Tensor("dx").Rows(first, samples).Data), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
            for (var c = 0; c < 3; c++)
            {
                mean[c] = (0.75 * mean[c]) + (0.25 * reference.StatisticsOf(part).Mean[c]);
                dgamma[c] += expected.Dgamma[c];
            }
            first += samples;
        }
        Assert.All(dgamma.Zip(backward.Numbers("dgamma")), pair => Assert.Equal(pair.First, pair.Second, 1e-9));
        var stats = await session.StatsAsync();
        Assert.All(mean.Zip(stats.Numbers("running_mean")), pair => Assert.Equal(pair.First, pair.Second, 1e-12));
        Assert.Equal(parts.Length, stats["num_batches_tracked"].GetInt64());
        Assert.Equal(2, step.Version);
        Accuracy.Batch_statistics_are(ReferenceKind.Of("batch_norm", Shape, 3).StatisticsOf(x), x, step);
    }

    [Fact]
    public async Task Renorm_corrects_towards_the_running_statistics_of_before_the_step()
    {
        var session = await service.CreateAsync(
            """{"kind":"batch_renorm","num_features":3,"renorm":{"r_max":1.5,"d_max":0.25,"warmup_steps":0}}""");
        double[] runningMean = [0.5, -0.1, 0.3], runningVar = [1, 4, 0.25];
        (await session.PutRunningStatsAsync($$"""{"running_mean":{{Batch.Array(runningMean)}},"running_var":{{Batch.Array(runningVar)}}}""")).Expect(200);
        var plain = ReferenceKind.Of("batch_renorm", Shape, 3);
        var (x, dy) = (Batch.Random(1, Shape), Batch.Random(2, Shape));
        var statistics = plain.StatisticsOf(x);
        var reference = plain with
        {
            Correction = [.. Enumerable.Range(0, 3).Select(c =>
            {
                var (batch, running) = (Math.Sqrt(statistics.Variance[c] + 1e-5), Math.Sqrt(runningVar[c] + 1e-5));
                return (Math.Clamp(batch / running, 1 / 1.5, 1.5), Math.Clamp((statistics.Mean[c] - runningMean[c]) / running, -0.25, 0.25));
            })],
        };
        var step = (await session.TrainAsync(x, retain: true)).Expect(200);
        Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
        Accuracy.Gradients_are(reference.Differentiate(x, dy).Gradients, x, (await session.BackwardAsync(step.StepId!, dy)).Expect(200));
        var moved = (await session.StatsAsync()).Numbers("running_mean");
        Assert.All(moved.Select((value, c) => (value, c)), pair =>
            Assert.Equal((0.9 * runningMean[pair.c]) + (0.1 * statistics.Mean[pair.c]), pair.value, 1e-12));
        var once = (await service.Client.PostAsync("/v1/normalize", $$"""
            {"kind":"batch_renorm","renorm":{"r_max":1.5,"d_max":0.25,"warmup_steps":0},"x":{{x.Json}},
             "running_mean":{{Batch.Array(runningMean)}},"running_var":{{Batch.Array(runningVar)}}}
            """)).Expect(200);
        Assert.Equal(step.Tensor("y").Data, once.Tensor("y").Data);
    }

    [Fact]
    public async Task Tracked_instance_statistics_are_the_average_over_the_samples()
    {
        var session = await service.CreateAsync("""{"kind":"instance_norm","num_features":3,"track_running_stats":true,"momentum":0.5}""");
        var x = Batch.Random(1, Shape);
        (await session.TrainAsync(x)).Expect(200);
        var instances = ReferenceKind.Of("instance_norm", Shape, 3).StatisticsOf(x);
        var stats = await session.StatsAsync();
        for (var c = 0; c < 3; c++)
        {
            var ofChannel = Enumerable.Range(0, 7).Select(n => (n * 3) + c).ToArray();
            Assert.Equal(0.5 * ofChannel.Average(i => instances.Mean[i]), stats.Numbers("running_mean")[c], 1e-12);
            Assert.Equal(0.5 + (0.5 * ofChannel.Average(i => instances.Variance[i] * 4 / 3)), stats.Numbers("running_var")[c], 1e-12);
        }
        // Inference now is that of the running statistics: an affine map per channel.
        var y = (await session.InferAsync(x)).Expect(200).Tensor("y");
        for (var i = 0; i < y.Data.Length; i++)
        {
            var c = i / 4 % 3;
            var expected = (x.Data[i] - stats.Numbers("running_mean")[c]) / Math.Sqrt(stats.Numbers("running_var")[c] + 1e-5);
            Assert.Equal(expected, y.Data[i], Math.Abs(expected) * 1e-6);
        }
        (await session.RefusedAsync(s => s.CalibrateAsync(x))).ExpectProblem("invalid-option", "calibration and merge belong to batch_norm");
    }

    [Fact]
    public async Task A_residual_block_with_gamma_0_begins_as_the_identity()
    {
        var session = await service.CreateAsync("""{"num_features":3,"gamma_init":0}""");
        var (x, residual) = (Batch.Random(1, Shape), Batch.Random(2, Shape));
        var y = (await session.TrainAsync($$"""{"x":{{x.Json}},"residual":{{residual.Json}}}""")).Expect(200).Tensor("y");
        Assert.Equal(residual.Data, y.Data);
    }
}
