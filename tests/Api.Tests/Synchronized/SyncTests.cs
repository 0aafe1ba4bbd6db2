namespace BnService.Api.Tests.Synchronized;

public sealed class SyncTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task Ranks_that_come_together_make_one_step()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var bodies = new[] { """{"x":[[1,2],[3,4],[5,9]]}""", """{"x":[[7,8]]}""" };
        var answers = await Task.WhenAll(bodies.Select((body, rank) =>
            service.Client.PostAsync($"/v1/sessions/{session.Name}/sync/g/train-step?rank={rank}&world_size=2", body)));
        foreach (var answer in answers)
        {
            answer.Expect(200);
            Assert.Equal(4, answer["count"].GetInt64());
            Assert.Equal([4, 5.75], answer.Numbers("batch_mean"));
        }
        Assert.Equal(2, (await session.GetAsync()).Version);
        var whole = await service.CreateAsync("""{"num_features":2}""");
        var step = (await whole.TrainAsync("""{"x":[[1,2],[3,4],[5,9],[7,8]]}""")).Expect(200);
        Assert.Equal(Values(step, "y"), Values(answers[0], "y").Concat(Values(answers[1], "y")));
        var dys = new[] { "[[1,0],[0,1],[1,1]]", "[[2,0]]" };
        var gradients = await Task.WhenAll(answers.Select((answer, rank) =>
            service.Client.PostAsync($"/v1/sessions/{session.Name}/sync/g/backward?rank={rank}&world_size=2",
                $$"""{"step_id":"{{answer["step_id"].GetString()}}","dy":{{dys[rank]}},"update":{"optimizer":"sgd","learning_rate":0.1} }""")));
        var expected = (await whole.BackwardAsync($$"""{"step_id":"{{step["step_id"].GetString()}}","dy":[[1,0],[0,1],[1,1],[2,0]],"update":{"optimizer":"sgd","learning_rate":0.1} }""")).Expect(200);
        foreach (var gradient in gradients) gradient.Expect(200);
        Accuracy.Doubles_are(expected.Numbers("gamma"), gradients[0].Numbers("gamma"), "gamma");
        Accuracy.Doubles_are(expected.Numbers("beta"), gradients[1].Numbers("beta"), "beta");
    }

    private static IEnumerable<double> Values(Answer answer, string name) =>
        answer[name].GetProperty("data").EnumerateArray().Select(value => value.GetDouble());
}
