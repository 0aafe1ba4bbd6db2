namespace BnService.Api.Tests.Calibration;

/// <summary>What a session has gathered is part of its state: it goes out and in with it.</summary>
public sealed class PopulationStateTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task A_state_that_is_put_elsewhere_goes_on_as_the_session_it_came_from()
    {
        var session = await service.CreateAsync("""{"num_features":3,"momentum":0.25}""");
        (await session.TrainAsync(Batch.Random(1, 8, 3))).Expect(200);
        (await session.CalibrateAsync(Batch.Random(2, 5, 3))).Expect(200);
        var state = (await service.Client.GetAsync($"{session.Path}/state")).Expect(200);
        Assert.Equal(8, state["seen"].GetProperty("count").GetInt64());
        Assert.Equal(5, state["population"].GetProperty("count").GetInt64());
        Assert.False(state["statistics_are_given"].GetBoolean());

        var copy = new SessionClient(service.Client, $"copy-of-{session.Name}");
        var put = (await service.Client.PutAsync($"{copy.Path}/state", state.Text)).Expect(201);
        string[] parts = ["gamma", "beta", "running_mean", "running_var", "num_batches_tracked", "last_batch", "seen", "population", "statistics_are_given"];
        Assert.All(parts, part => Assert.Equal(state[part].GetRawText(), put[part].GetRawText()));

        foreach (var each in new[] { session, copy })
        {
            (await each.CalibrateAsync(Batch.Random(3, 4, 3))).Expect(200);
            (await each.CommitAsync()).Expect(200);
        }
        Assert.Equal((await session.StatsAsync())["running_var"].GetRawText(), (await copy.StatsAsync())["running_var"].GetRawText());
    }

    [Theory]
    [InlineData("""{"seen":{"count":0,"batches":1,"mean":[1],"mean_residual":[0],"m2":[1]}}""", "invalid-option", "seen.count must be from 1 to")]
    [InlineData("""{"population":{"count":4,"batches":1,"mean":[1],"mean_residual":[0],"m2":[-1]}}""", "invalid-option", "population.m2[0] must be 0 or more, got -1")]
    [InlineData("""{"population":{"count":4,"batches":1,"mean":[1,2],"mean_residual":[0],"m2":[1]}}""", "shape-mismatch", "population.mean, mean_residual and m2 must be equally long")]
    [InlineData("""{"population":{"count":4,"batches":1,"mean":[1,2],"mean_residual":[0,0],"m2":[1,1]}}""", "shape-mismatch", "population.mean must have 1 values")]
    [InlineData("""{"population":{"count":4,"batches":1,"mean":[1],"mean_residual":[0],"m2":["NaN"]}}""", "invalid-option", "population.m2[0] must be a finite number")]
    public async Task A_union_that_makes_no_sense_is_refused(string state, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        (await session.RefusedAsync(s => service.Client.PutAsync($"{s.Path}/state", state))).ExpectProblem(code, detail);
    }

    [Fact]
    public async Task Statistics_that_are_put_without_a_count_stand_for_themselves()
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        (await service.Client.PutAsync($"{session.Path}/state", """{"running_mean":[2],"running_var":[3]}""")).Expect(200);
        Assert.True((await session.DiagnosticsAsync()).Expect(200).Text.Contains("\"settled\":true", StringComparison.Ordinal));
    }
}
