using System.Text.Json;

namespace BnService.Api.Tests.Diagnostics;

/// <summary>Server-sent events of one session and of all.</summary>
public sealed class EventsTests
{
    private const string Step = """{"x":[[1,2],[3,5]],"retain":false}""";

    [Fact]
    public async Task Each_step_is_an_event_that_says_what_the_history_says()
    {
        using var service = Service.OnKestrel();
        var session = await service.CreateAsync("""{"name":"watched","num_features":2}""");
        (await session.TrainAsync(Step)).Expect(200);
        using var events = await Events.OpenAsync(service.Address, session.Path + "/events");
        // What was before is the history's to tell; how it is now comes first.
        var state = await events.NextAsync();
        Assert.Equal(("state", "2", 2, 1), (state.Name, state.Id, state.Data.GetProperty("version").GetInt32(), state.Data.GetProperty("num_batches_tracked").GetInt32()));
        for (var i = 0; i < 3; i++)
        {
            (await session.TrainAsync(Step)).Expect(200);
            var step = await events.NextAsync();
            Assert.Equal(("step", $"{i + 3}"), (step.Name, step.Id));
            Assert.True(JsonElement.DeepEquals((await session.HistoryAsync("?limit=1"))["steps"][0], step.Data), step.Data.ToString());
        }
        (await session.PatchAsync("""{"eps":0.5}""")).Expect(200);
        Assert.Equal(("state", "6"), (await events.NextAsync()) is var changed ? (changed.Name, changed.Id) : default);
        (await session.InferAsync(Batch.Random(1, 16, 2))).Expect(200);
        var inference = await events.NextAsync();
        Assert.Equal(("inference", 16), (inference.Name, inference.Data.GetProperty("count").GetInt32()));
        Assert.True(JsonElement.DeepEquals((await session.HistoryAsync())["inferences"][0], inference.Data), inference.Data.ToString());
        (await session.DeleteAsync()).Expect(204);
        Assert.Equal("gone", (await events.NextAsync()).Name);
        Assert.True(await events.HasEndedAsync());
    }

    [Fact]
    public async Task Who_comes_back_is_told_the_steps_that_he_has_missed()
    {
        using var service = Service.OnKestrel();
        var session = await service.CreateAsync("""{"name":"missed","num_features":2}""");
        for (var i = 0; i < 5; i++) (await session.TrainAsync(Step)).Expect(200);
        using var events = await Events.OpenAsync(service.Address, session.Path + "/events", ("Last-Event-ID", "3"));
        foreach (var id in (string[])["4", "5", "6"]) Assert.Equal(("step", id), (await events.NextAsync()) is var step ? (step.Name, step.Id) : default);
        Assert.Equal("state", (await events.NextAsync()).Name);
        // An id that is none of this service's is none.
        using var odd = await Events.OpenAsync(service.Address, session.Path + "/events", ("Last-Event-ID", "x"));
        Assert.Equal("state", (await odd.NextAsync()).Name);
    }

    [Fact]
    public async Task All_sessions_are_watched_by_one_stream_and_each_key_sees_its_own()
    {
        using var service = Service.OnKestrel();
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var ofTeam = await KeyedService.CreateAsync(service.Client, "trainer", "team-", admin);
        var header = KeyedService.Bearer(ofTeam);
        using var all = await Events.OpenAsync(service.Address, "/v1/events", KeyedService.Bearer(admin));
        using var own = await Events.OpenAsync(service.Address, "/v1/events", header);
        var other = (await service.Client.PostAsync("/v1/sessions", """{"name":"other","num_features":2}""", KeyedService.Bearer(admin))).Expect(201)["id"].GetString();
        var mine = (await service.Client.PostAsync("/v1/sessions", """{"name":"team-a","num_features":2}""", header)).Expect(201)["id"].GetString();
        var seen = new HashSet<string?>();
        while (!seen.IsSupersetOf([other, mine])) seen.UnionWith(Ids(await all.NextAsync()));
        Assert.Equal([mine], Ids(await own.NextAsync()));
        (await service.Client.PostAsync("/v1/sessions/team-a/train-step", Step, header)).Expect(200);
        Assert.Equal([mine], Ids(await own.NextAsync()));
    }

    [Fact]
    public async Task A_stream_needs_a_session_a_key_and_a_client_that_takes_events()
    {
        using var service = new Service();
        (await service.Client.GetAsync("/v1/sessions/none/events")).ExpectProblem("session-not-found");
        var session = await service.CreateAsync("""{"name":"asked","num_features":2}""");
        (await service.Client.GetAsync($"{session.Path}/events", ("Accept", "application/json"))).ExpectProblem("not-acceptable");
        await KeyedService.CreateAsync(service.Client, "admin", null, null);
        (await service.Client.GetAsync($"{session.Path}/events")).ExpectProblem("unauthorized");
        (await service.Client.GetAsync("/v1/events")).ExpectProblem("unauthorized");
    }

    [Fact]
    public async Task A_stream_ends_with_the_service()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.CreateAsync("""{"name":"watched","num_features":2}""");
        using var one = await Events.OpenAsync(service.Address, "/v1/sessions/watched/events");
        using var all = await Events.OpenAsync(service.Address, "/v1/events");
        Assert.Equal("state", (await one.NextAsync()).Name);
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        Assert.True(await one.HasEndedAsync() && await all.HasEndedAsync());
    }

    private static List<string?> Ids((string Name, string? Id, JsonElement Data) activity)
    {
        Assert.Equal("activity", activity.Name);
        return [.. activity.Data.GetProperty("sessions").EnumerateArray().Select(id => id.GetString())];
    }
}
