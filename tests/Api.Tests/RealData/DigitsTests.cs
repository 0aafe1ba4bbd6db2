namespace BnService.Api.Tests.RealData;

/// <summary>1797 handwritten digits of 8 × 8 grey pixels, of which some are the same in every image.</summary>
public sealed class DigitsTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch Digits = Repository.Digits();

    [Fact]
    public void The_file_is_the_one_that_the_tests_were_written_for()
    {
        Assert.Equal([1797, 64], Digits.Shape);
        Assert.All(Digits.Data, pixel => Assert.InRange(pixel, 0, 16));
    }

    [Theory]
    [InlineData("""{"num_features":64}""")]
    [InlineData("""{"num_features":1,"granularity":"per_activation"}""")]
    [InlineData("""{"num_features":64,"granularity":"per_activation"}""")]
    public async Task Pixels_as_features_and_pixels_as_positions_are_the_same_layer(string options)
    {
        var isImage = options.Contains("per_activation", StringComparison.Ordinal);
        var session = await service.CreateAsync(options);
        var layer = new ReferenceLayer(64) { PerActivation = isImage };
        for (var from = 0; from < 1797; from += 600)
        {
            var count = Math.Min(600, 1797 - from);
            var x = isImage ? Digits.Rows(from, count).As(count, 1, 8, 8) : Digits.Rows(from, count);
            var dy = Batch.Random(from, x.Shape);
            var answer = (await session.TrainAsync(x, retain: true)).Expect(200);
            Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
            Accuracy.Batch_statistics_are(layer.StatisticsOf(x), x, answer);
            Accuracy.Gradients_are(layer.BackwardThroughBatch(x, dy), x, (await session.BackwardAsync(answer.StepId!, dy)).Expect(200));
        }
        var all = isImage ? Digits.As(1797, 1, 8, 8) : Digits;
        Accuracy.Running_statistics_are(layer.Running, all, await session.StatsAsync());
        Accuracy.Outputs_are(layer.Infer(all), all, (await session.InferAsync(all)).Expect(200).Tensor("y"));
    }

    /// <summary>The first pixel is 0 in every image.</summary>
    [Fact]
    public async Task A_pixel_that_never_changes_becomes_exactly_beta_and_is_warned_of()
    {
        var session = await service.CreateAsync("""{"num_features":64,"beta_init":0.25,"eps":0}""");
        var answer = (await session.TrainAsync(Digits)).Expect(200);
        var y = answer.Tensor("y").Data;
        for (var row = 0; row < 1797; row++) Assert.Equal(0.25f, y[row * 64]);
        var constant = answer.Numbers("batch_var").Count(variance => variance == 0);
        Assert.InRange(constant, 1, 10);
        var warning = Assert.Single(answer["warnings"].EnumerateArray());
        Assert.Equal("constant-channels", warning.GetProperty("code").GetString());
        Assert.StartsWith($"{constant} of 64 statistics", warning.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_channel_over_all_pixels_has_the_statistics_of_all_pixels()
    {
        var session = await service.CreateAsync("""{"num_features":1,"activation":"relu"}""");
        var (x, layer) = (Digits.As(1797, 1, 8, 8), new ReferenceLayer(1) { Relu = true });
        var answer = (await session.TrainAsync(x)).Expect(200);
        Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
        Accuracy.Batch_statistics_are(layer.StatisticsOf(x), x, answer);
    }
}
