using System.Text.Json;

namespace BnService.Api.Tests.Sessions;

public sealed class ResetSessionTests(Service service) : IClassFixture<Service>
{
    private const string X = """{"x":[[1,2],[3,6],[4,4]]}""";

    [Theory]
    [InlineData(null)]
    [InlineData("{}")]
    [InlineData("""{"parameters":false}""")]
    public async Task Statistics_and_counters_go_back_to_the_start_and_parameters_stay(string? body)
    {
        var session = await TrainedAsync();
        var parameters = await session.StatsAsync();
        var answer = (await session.ResetAsync(body)).Expect(200);
        Assert.Equal(parameters.Version + 1, answer.Version);
        Assert.Equal(0, answer["num_batches_tracked"].GetInt64());
        var stats = await session.StatsAsync();
        AssertStatisticsAreInitial(stats);
        Assert.Equal(parameters.Numbers("gamma"), stats.Numbers("gamma"));
        Assert.Equal(parameters.Numbers("beta"), stats.Numbers("beta"));
        Assert.NotEqual([0.5, 0.5], stats.Numbers("gamma"));
    }

    [Fact]
    public async Task With_parameters_gamma_and_beta_go_back_to_their_initial_values()
    {
        var session = await TrainedAsync();
        (await session.ResetAsync("""{"parameters":true}""")).Expect(200);
        var stats = await session.StatsAsync();
        AssertStatisticsAreInitial(stats);
        stats.ExpectNumbers("gamma", 0.5, 0.5);
        stats.ExpectNumbers("beta", -1, -1);
    }

    /// <summary>After a reset of the parameters the optimizer starts anew; without one its momentum goes on.</summary>
    [Fact]
    public async Task The_optimizers_buffers_go_with_the_parameters()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        const string backward = """{"x":[[1,2],[3,6],[4,4]],"dy":[[1,0],[0,1],[0,0]],"update":{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9}}""";
        var first = (await session.BackwardAsync(backward)).Expect(200).Numbers("gamma");
        (await session.ResetAsync("""{"parameters":true}""")).Expect(200);
        Assert.Equal(first, (await session.BackwardAsync(backward)).Expect(200).Numbers("gamma"));
        (await session.ResetAsync(null)).Expect(200);
        (await session.PutParametersAsync("""{"gamma":[1,1],"beta":[0,0]}""")).Expect(200);
        Assert.NotEqual(first, (await session.BackwardAsync(backward)).Expect(200).Numbers("gamma"));
    }

    [Fact]
    public async Task A_cumulative_average_starts_counting_again()
    {
        var session = await service.CreateAsync("""{"num_features":1,"momentum":null}""");
        (await session.TrainAsync("""{"x":[[100],[300]]}""")).Expect(200);
        (await session.ResetAsync(null)).Expect(200);
        (await session.TrainAsync("""{"x":[[1],[3]]}""")).Expect(200);
        (await session.StatsAsync()).ExpectNumbers("running_mean", 2);
    }

    [Fact]
    public async Task Steps_from_before_can_still_be_differentiated()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var step = (await session.TrainAsync(X)).Expect(200).StepId;
        var body = $$"""{"step_id":"{{step}}","dy":[[1,0],[0,1],[0,0]]}""";
        var before = (await session.BackwardAsync(body)).Expect(200);
        (await session.ResetAsync("""{"parameters":true}""")).Expect(200);
        var after = (await session.BackwardAsync(body)).Expect(200);
        Assert.Equal(before.Tensor("dx").Data, after.Tensor("dx").Data);
        Assert.Equal(before.Numbers("dgamma"), after.Numbers("dgamma"));
    }

    [Theory]
    [InlineData("""{"parameters":1}""", "parameters must be true or false, got 1")]
    [InlineData("""{"parameters":"true"}""", "parameters must be true or false, got \"true\"")]
    [InlineData("""{"params":true}""", "'params' is not a field of this call; allowed: parameters")]
    public async Task What_is_not_understood_is_refused(string body, string detail)
    {
        var session = await TrainedAsync();
        (await session.RefusedAsync(s => s.ResetAsync(body))).ExpectProblem("invalid-option", detail);
    }

    [Theory]
    [InlineData(" ")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("""{"parameters":true""")]
    public async Task A_body_that_is_no_object_is_malformed(string body)
    {
        var session = await TrainedAsync();
        (await session.RefusedAsync(s => s.ResetAsync(body))).ExpectProblem("malformed-body");
    }

    private async Task<SessionClient> TrainedAsync()
    {
        var session = await service.CreateAsync("""{"num_features":2,"gamma_init":0.5,"beta_init":-1}""");
        (await session.TrainAsync(X)).Expect(200);
        (await session.BackwardAsync("""{"x":[[1,2],[3,6],[4,4]],"dy":[[1,0],[0,1],[0,0]],"update":{"optimizer":"adam"}}""")).Expect(200);
        return session;
    }

    private static void AssertStatisticsAreInitial(Answer stats)
    {
        stats.ExpectNumbers("running_mean", 0, 0);
        stats.ExpectNumbers("running_var", 1, 1);
        Assert.Equal(0, stats["num_batches_tracked"].GetInt64());
        Assert.Equal(JsonValueKind.Null, stats["last_batch"].ValueKind);
    }
}
