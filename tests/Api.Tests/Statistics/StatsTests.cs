using System.Text.Json;

namespace BnService.Api.Tests.Statistics;

public sealed class StatsTests(Service service) : IClassFixture<Service>
{
    private static readonly string[] All = ["num_batches_tracked", "running_mean", "running_var", "gamma", "beta", "last_batch", "version", "diagnostics"];

    [Fact]
    public async Task Everything_is_told_where_nothing_is_asked_for()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        var stats = (await session.StatsAsync()).Expect(200);
        Assert.Equal(All.Order(), stats.Json.EnumerateObject().Select(field => field.Name).Order());
        Assert.Equal(2, stats.Version);
    }

    [Theory]
    [InlineData("running_mean", "running_mean,version")]
    [InlineData("running_mean,running_var", "running_mean,running_var,version")]
    [InlineData("%20gamma%20,%20beta", "gamma,beta,version")]
    [InlineData("last_batch&include=diagnostics", "last_batch,diagnostics,version")]
    [InlineData("version", "version")]
    [InlineData("", "version")]
    public async Task Include_narrows_the_answer(string include, string expected)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = (await service.Client.GetAsync($"{session.Path}/stats?include={include}")).Expect(200);
        Assert.Equal(expected.Split(',').Order(), answer.Json.EnumerateObject().Select(field => field.Name).Order());
        var whole = await session.StatsAsync();
        Assert.All(answer.Json.EnumerateObject(), field => Assert.True(JsonElement.DeepEquals(whole[field.Name], field.Value)));
    }

    [Theory]
    [InlineData("nosuch")]
    [InlineData("running_mean,nosuch")]
    [InlineData("Running_Mean")]
    [InlineData("%00")]
    public async Task Include_of_something_unknown_is_refused(string include)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await service.Client.GetAsync($"{session.Path}/stats?include={include}"))
            .ExpectProblem("invalid-option", "include must be some of num_batches_tracked,running_mean,running_var");
    }

    [Theory]
    [InlineData("0.1", 1, 0.9, 19, false)]
    [InlineData("0.1", 50, 0.005153775207320113, 19, true)]
    [InlineData("0.5", 3, 0.125, 3, false)]
    [InlineData("1", 1, 0, 1, true)]
    [InlineData("null", 0, 1, 0, false)]
    [InlineData("null", 4, 0, 4, true)]
    [InlineData("0", 7, 1, 0, false)]
    public async Task Diagnostics_tell_whether_the_running_statistics_have_settled(
        string momentum, int steps, double initialWeight, double effectiveBatches, bool isSettled)
    {
        var session = await service.CreateAsync($$"""{"num_features":1,"momentum":{{momentum}}}""");
        for (var step = 0; step < steps; step++) (await session.TrainAsync("""{"x":[[1],[3]],"retain":false}""")).Expect(200);
        var diagnostics = (await session.StatsAsync())["diagnostics"];
        Assert.Equal(initialWeight, diagnostics.GetProperty("initial_weight").GetDouble(), 1e-12);
        Assert.Equal(effectiveBatches, diagnostics.GetProperty("effective_batches").GetDouble(), 1e-12);
        Assert.Equal(isSettled, diagnostics.GetProperty("settled").GetBoolean());
    }

    /// <summary>KL = ½[ln(σ_r²/σ_b²) + (σ_b² + (μ_b−μ_r)²)/σ_r² − 1], p ≈ exp(−m·KL) times the number of channels.</summary>
    [Fact]
    public async Task Diagnostics_tell_how_far_the_last_batch_lies_from_the_running_statistics()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var (x, layer) = (Batch.Random(1, 20, 3), new ReferenceLayer(3));
        (await session.TrainAsync(x)).Expect(200);
        layer.Train(x);
        var (batch, running) = (layer.StatisticsOf(x), layer.Running);
        var divergences = Enumerable.Range(0, 3).Select(c =>
        {
            var (difference, ratio) = (batch.Mean[c] - running.Mean[c], batch.Variance[c] / running.Variance[c]);
            return 0.5 * (Math.Log(1 / ratio) + ratio + (difference * difference / running.Variance[c]) - 1);
        }).ToList();
        var drift = (await session.StatsAsync())["diagnostics"].GetProperty("drift");
        var largest = divergences.Max();
        Assert.Equal(divergences.IndexOf(largest), drift.GetProperty("channel").GetInt32());
        Assert.Equal(largest, drift.GetProperty("kl_divergence").GetDouble(), 1e-12);
        Assert.Equal(Math.Min(1, 3 * Math.Exp(-20 * largest)), drift.GetProperty("p_value").GetDouble(), 1e-12);
    }

    [Fact]
    public async Task Before_the_first_batch_there_is_no_drift()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        Assert.Equal(JsonValueKind.Null, (await session.StatsAsync())["diagnostics"].GetProperty("drift").ValueKind);
    }
}
