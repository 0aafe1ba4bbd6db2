namespace BnService.Api.Tests.Problems;

/// <summary>The session is found, and its version compared, before anything of a body is read: a body that is no JSON tells the order.</summary>
public sealed class BeforeTheBodyTests(Service service) : IClassFixture<Service>
{
    private const string Broken = """{"x":[[1,2],""";

    [Theory]
    [InlineData("train-step")]
    [InlineData("inference")]
    [InlineData("backward")]
    [InlineData("update")]
    [InlineData("sync/g/train-step?rank=0&world_size=1")]
    [InlineData("sync/g/backward?rank=0&world_size=1")]
    public async Task A_session_that_is_not_there_is_not_found_whatever_the_body_is(string call)
    {
        (await service.Client.PostAsync($"/v1/sessions/nobody/{call}", Broken)).ExpectProblem("session-not-found");
        var session = await service.CreateAsync("""{"num_features":2}""");
        Assert.NotEqual(404, (await session.RefusedAsync(there => service.Client.PostAsync($"{there.Path}/{call}", Broken))).Status);
    }

    [Theory]
    [InlineData("train-step")]
    [InlineData("backward")]
    [InlineData("update")]
    [InlineData("sync/g/train-step?rank=0&world_size=1")]
    public async Task A_version_that_the_call_may_not_change_is_refused_whatever_the_body_is(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(there => service.Client.PostAsync($"{there.Path}/{call}", Broken, ("If-Match", "\"9\""))))
            .ExpectProblem("version-conflict");
    }

    [Fact]
    public async Task A_repetition_is_answered_as_the_first_time_although_its_version_is_another_one_now()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (string, string)[] headers = [("If-Match", "\"1\""), ("Idempotency-Key", "k")];
        const string body = """{"x":[[1,2],[3,5]],"retain":false}""";
        var first = (await session.TrainAsync(body, headers)).Expect(200);
        Assert.Equal(2, first.Version);
        Assert.Equal(first.Body, (await session.TrainAsync(body, headers)).Expect(200).Body);
    }
}
