namespace BnService.Api.Tests.RealData;

/// <summary>178 wines, 13 measurements each, whose scales differ by more than a thousandfold.</summary>
public sealed class WineTests(Service service) : IClassFixture<Service>
{
    private const int Features = 13;
    private static readonly Batch Wines = Repository.Wines();

    [Fact]
    public void The_file_is_the_one_that_the_tests_were_written_for()
    {
        Assert.Equal([178, Features], Wines.Shape);
        Assert.Equal([14.23f, 1.71f, 2.43f, 15.6f, 127, 2.8f, 3.06f, 0.28f, 2.29f, 5.64f, 1.04f, 3.92f, 1065], Wines.Data[..Features]);
    }

    [Fact]
    public async Task A_step_over_all_wines_gives_every_feature_mean_0_and_variance_1()
    {
        var session = await service.CreateAsync("""{"num_features":13}""");
        var answer = (await session.TrainAsync(Wines)).Expect(200);
        var (y, layer) = (answer.Tensor("y"), new ReferenceLayer(Features));
        var statistics = layer.StatisticsOf(y);
        for (var feature = 0; feature < Features; feature++)
        {
            Assert.InRange(statistics.Mean[feature], -1e-6, 1e-6);
            Assert.InRange(statistics.Variance[feature], 1 - 1e-3, 1 + 1e-3);
        }
        Accuracy.Outputs_are(layer.Train(Wines), Wines, y);
        Accuracy.Batch_statistics_are(layer.StatisticsOf(Wines), Wines, answer);
    }

    [Theory]
    [InlineData("0.1", 32)]
    [InlineData("null", 32)]
    [InlineData("null", 7)]
    public async Task Training_in_batches_serving_and_gradients_are_those_of_the_definition(string momentum, int batchSize)
    {
        var session = await service.CreateAsync($$"""{"num_features":13,"momentum":{{momentum}}}""");
        var layer = new ReferenceLayer(Features) { Momentum = momentum == "null" ? null : 0.1 };
        for (var from = 0; from + batchSize <= 178; from += batchSize)
        {
            var (x, dy) = (Wines.Rows(from, batchSize), Batch.Random(from, batchSize, Features));
            var answer = (await session.TrainAsync(x, retain: true)).Expect(200);
            Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
            Accuracy.Gradients_are(layer.BackwardThroughBatch(x, dy), x, (await session.BackwardAsync(answer.StepId!, dy)).Expect(200));
            Accuracy.Gradients_are(layer.BackwardThroughRunning(x, dy), x, (await session.BackwardAsync(x, dy, "inference")).Expect(200));
        }
        Accuracy.Running_statistics_are(layer.Running, Wines, await session.StatsAsync());
        Accuracy.Outputs_are(layer.Infer(Wines), Wines, (await session.InferAsync(Wines)).Expect(200).Tensor("y"));
    }

    /// <summary>A regression on the wines: gamma and beta learn, by the updates on the server, to reproduce a known affine map.</summary>
    [Fact]
    public async Task Updates_on_the_server_descend_to_the_parameters_that_made_the_data()
    {
        var session = await service.CreateAsync("""{"num_features":13}""");
        var maker = new ReferenceLayer(Features)
        {
            Gamma = [.. Enumerable.Range(0, Features).Select(c => 0.5 + (0.25 * c))],
            Beta = [.. Enumerable.Range(0, Features).Select(c => c - 6.0)],
        };
        var target = maker.Output(Wines, maker.StatisticsOf(Wines)).Y;
        for (var step = 0; step < 60; step++)
        {
            var answer = (await session.TrainAsync(Wines, retain: true)).Expect(200);
            // Gradient of the mean squared error.
            var dy = Wines with { Data = [.. answer.Tensor("y").Data.Zip(target, (y, wanted) => (float)((y - wanted) / 178))] };
            (await session.BackwardAsync(answer.StepId!, dy, """{"optimizer":"sgd","learning_rate":0.5}""")).Expect(200);
        }
        var stats = await session.StatsAsync();
        Assert.All(stats.Numbers("gamma").Zip(maker.Gamma), pair => Assert.Equal(pair.Second, pair.First, 1e-4));
        Assert.All(stats.Numbers("beta").Zip(maker.Beta), pair => Assert.Equal(pair.Second, pair.First, 1e-4));
    }
}
