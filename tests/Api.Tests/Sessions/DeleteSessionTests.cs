namespace BnService.Api.Tests.Sessions;

public sealed class DeleteSessionTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task A_deleted_session_is_gone_by_name_and_by_id_and_from_the_list()
    {
        var session = await service.CreateAsync("""{"name":"to-delete","num_features":2}""");
        var id = (await session.GetAsync())["id"].GetString();
        (await session.DeleteAsync()).Expect(204);
        (await session.GetAsync()).ExpectProblem("session-not-found", "'to-delete'");
        (await service.Client.GetAsync($"/v1/sessions/{id}")).ExpectProblem("session-not-found", id!);
        (await session.DeleteAsync()).ExpectProblem("session-not-found");
        Assert.Equal(0, (await service.Client.GetAsync("/v1/sessions?prefix=to-delete"))["sessions"].GetArrayLength());
    }

    [Fact]
    public async Task A_session_can_be_deleted_by_its_id()
    {
        var session = await service.CreateAsync("""{"name":"by-id","num_features":2}""");
        var id = (await session.GetAsync())["id"].GetString();
        (await service.Client.DeleteAsync($"/v1/sessions/{id}")).Expect(204);
        (await session.GetAsync()).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task The_name_can_be_used_again_and_nothing_of_the_old_session_shows()
    {
        var session = await service.CreateAsync("""{"name":"again","num_features":2,"labels":{"a":"b"}}""");
        var old = await session.GetAsync();
        var step = (await session.TrainAsync("""{"x":[[1,2],[3,4]]}""")).Expect(200).StepId!;
        (await session.DeleteAsync()).Expect(204);
        var created = (await service.Client.PostAsync("/v1/sessions", """{"name":"again","num_features":3}""")).Expect(201);
        Assert.NotEqual(old["id"].GetString(), created["id"].GetString());
        Assert.Equal(1, created.Version);
        Assert.Empty(created["labels"].EnumerateObject());
        (await session.StatsAsync()).ExpectNumbers("running_mean", 0, 0, 0);
        (await session.BackwardAsync($$"""{"step_id":"{{step}}","dy":[[1,2],[3,4]]}""")).ExpectProblem("step-expired", step);
    }

    [Fact]
    public async Task Its_steps_go_with_it_and_those_of_others_stay()
    {
        using var own = new Service();
        var (one, other) = (await own.CreateAsync("""{"num_features":2}"""), await own.CreateAsync("""{"num_features":2}"""));
        const string x = """{"x":[[1,2],[3,4]]}""";
        (await one.TrainAsync(x)).Expect(200);
        (await one.TrainAsync(x)).Expect(200);
        var step = (await other.TrainAsync(x)).Expect(200).StepId;
        var all = own.RetainedBytes;
        (await one.DeleteAsync()).Expect(204);
        Assert.Equal(all / 3, own.RetainedBytes);
        (await other.BackwardAsync($$"""{"step_id":"{{step}}","dy":[[1,2],[3,4]]}""")).Expect(200);
        (await other.DeleteAsync()).Expect(204);
        Assert.Equal(0, own.RetainedBytes);
    }
}
