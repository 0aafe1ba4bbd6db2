using System.Text;

namespace BnService.Api.Tests.Problems;

public sealed class LimitTests
{
    [Fact]
    public async Task There_are_no_more_sessions_than_allowed()
    {
        using var service = Service.With(("Limits:MaxSessions", "2"));
        await service.CreateAsync("""{"name":"a","num_features":1}""");
        await service.CreateAsync("""{"name":"b","num_features":1}""");
        (await service.Client.PostAsync("/v1/sessions", """{"name":"c","num_features":1}"""))
            .ExpectProblem("limit-reached", "2 sessions", "Limits:MaxSessions");
        (await service.Client.GetAsync("/v1/sessions/c")).ExpectProblem("session-not-found");
        (await service.Client.DeleteAsync("/v1/sessions/a")).Expect(204);
        await service.CreateAsync("""{"name":"c","num_features":1}""");
    }

    [Fact]
    public async Task A_key_has_no_more_sessions_than_allowed()
    {
        using var keyed = await KeyedService.StartAsync(("Limits:MaxSessionsPerKey", "2"));
        var (one, other) = (KeyedService.Bearer(await keyed.KeyAsync("trainer")), KeyedService.Bearer(await keyed.KeyAsync("trainer", "mine.")));
        foreach (var key in new[] { one, other })
        {
            var first = (await keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key)).Expect(201)["id"].GetString();
            (await keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key)).Expect(201);
            (await keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key)).ExpectProblem("limit-reached", "2 sessions", "Limits:MaxSessionsPerKey");
            // It counts for who has created it, whoever deletes it.
            (await keyed.Client.DeleteAsync($"/v1/sessions/{first}", KeyedService.Bearer(keyed.Admin))).Expect(204);
            (await keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key)).Expect(201);
            (await keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key)).ExpectProblem("limit-reached");
        }
    }

    [Fact]
    public async Task Sessions_that_are_created_at_once_do_not_pass_the_limits()
    {
        using var keyed = await KeyedService.StartAsync(("Limits:MaxSessionsPerKey", "5"), ("Limits:MaxSessions", "8"));
        foreach (var sessions in new[] { 5, 8 })
        {
            var key = KeyedService.Bearer(await keyed.KeyAsync("trainer"));
            await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => Task.Run(() => keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key))));
            // Of those that came at the same moment one too many may have been refused, but then there is room for it.
            while ((await keyed.Client.PostAsync("/v1/sessions", """{"num_features":1}""", key)).Status == 201) { }
            Assert.Equal(sessions, (await keyed.Client.GetAsync("/v1/sessions?limit=100", KeyedService.Bearer(keyed.Admin)))["sessions"].GetArrayLength());
        }
    }

    [Fact]
    public async Task A_session_has_no_more_features_than_allowed()
    {
        using var service = Service.With(("Limits:MaxFeatures", "6"));
        (await service.Client.PostAsync("/v1/sessions", """{"num_features":7}"""))
            .ExpectProblem("limit-reached", "a session has at most 6 features (Limits:MaxFeatures), got 7");
        await service.CreateAsync("""{"num_features":6}""");
    }

    /// <summary>With one statistic per position the batch decides, or values from outside do.</summary>
    [Fact]
    public async Task Neither_a_batch_nor_a_put_makes_more_features_than_allowed()
    {
        using var service = Service.With(("Limits:MaxFeatures", "6"));
        var session = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation"}""");
        (await session.RefusedAsync(s => s.TrainAsync(Batch.Random(1, 3, 2, 4), retain: true)))
            .ExpectProblem("limit-reached", "Limits:MaxFeatures), got 8");
        Assert.Equal(0, service.RetainedBytes);
        (await session.RefusedAsync(s => s.PutParametersAsync("""{"gamma":[1,2,3,4,5,6,7,8]}"""))).ExpectProblem("limit-reached");
        (await session.RefusedAsync(s => s.PutRunningStatsAsync("""{"running_var":[1,2,3,4,5,6,7,8]}"""))).ExpectProblem("limit-reached");
        var x = Batch.Random(1, 3, 2, 4);
        (await session.RefusedAsync(s => s.BackwardAsync(x, x, update: """{"optimizer":"sgd"}"""))).ExpectProblem("limit-reached");
        (await session.TrainAsync(Batch.Random(1, 3, 2, 3))).Expect(200);
    }

    [Fact]
    public async Task The_states_of_all_sessions_stay_within_their_budget()
    {
        using var service = Service.With(("Sessions:MaxResidentBytes", "1500000"));
        var sessions = new List<SessionClient>();
        while (await FilledAsync() is { } filled) sessions.Add(filled);
        // Mean and variance of 5000 doubles, which differ, are 80 kB.
        Assert.InRange(sessions.Count, 9, 18);
        (await sessions[0].DeleteAsync()).Expect(204);
        Assert.NotNull(await FilledAsync());
        Assert.Null(await FilledAsync());

        async Task<SessionClient?> FilledAsync()
        {
            var session = await service.CreateAsync("""{"num_features":5000}""");
            var values = Batch.Array(Enumerable.Range(1, 5000).Select(i => i / 7.0));
            var answer = await session.PutRunningStatsAsync($$"""{"running_mean":{{values}},"running_var":{{values}}}""");
            if (answer.Status == 200) return session;
            answer.ExpectProblem("limit-reached", "Sessions:MaxResidentBytes allows 1500000");
            (await session.DeleteAsync()).Expect(204);
            return null;
        }
    }

    [Fact]
    public async Task One_key_leaves_room_in_memory_to_the_sessions_of_others()
    {
        using var service = await KeyedService.StartAsync(("Sessions:MaxResidentBytes", "1500000"));
        var (greedy, other) = (KeyedService.Bearer(await service.KeyAsync("trainer")), KeyedService.Bearer(await service.KeyAsync("trainer")));
        var values = Batch.Array(Enumerable.Range(1, 5000).Select(i => i / 7.0));
        var count = 0;
        while (await FilledAsync($"greedy{count}", greedy) is { Status: 200 }) count++;
        // Half of the room, where each takes 81 kB; it was all of it.
        Assert.InRange(count, 5, 9);
        (await FilledAsync("other", other)).Expect(200);
        (await service.Client.DeleteAsync("/v1/sessions/greedy0", greedy)).Expect(204);
        (await service.Client.DeleteAsync("/v1/sessions/other", other)).Expect(204);
        (await FilledAsync("greedy", greedy)).Expect(200);

        async Task<Answer> FilledAsync(string name, (string, string) key)
        {
            var created = await service.Client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":5000}""", key);
            if (created.Status != 201) return created;
            return await service.Client.PutAsync($"/v1/sessions/{name}/running-stats", $$"""{"running_mean":{{values}},"running_var":{{values}}}""", key);
        }
    }

    /// <summary>A step adds the last batch to the state, an update the optimizer's buffers.</summary>
    [Fact]
    public async Task What_makes_a_state_larger_is_refused_where_there_is_no_room()
    {
        using var service = Service.With(("Sessions:MaxResidentBytes", "40000"));
        var session = await service.CreateAsync("""{"num_features":1000}""");
        var x = Batch.Random(1, 2, 1000);
        (await session.RefusedAsync(s => s.TrainAsync(x, retain: true)))
            .ExpectProblem("limit-reached", "Sessions:MaxResidentBytes allows 40000");
        Assert.Equal(0, service.RetainedBytes);
        (await session.RefusedAsync(s => s.BackwardAsync(x, x, update: """{"optimizer":"adam"}"""))).ExpectProblem("limit-reached");
        (await session.InferAsync(x)).Expect(200);
        (await session.PutParametersAsync($"{{\"gamma\":{Batch.Array(Enumerable.Repeat(2.0, 1000))}}}")).Expect(200);
        (await session.DeleteAsync()).Expect(204);
        await service.CreateAsync("""{"num_features":1000}""");
    }

    /// <summary>What is refused must not count: neither a name that is taken nor a change that is not made.</summary>
    [Fact]
    public async Task Refusals_use_up_nothing_of_a_budget()
    {
        using var service = Service.With(("Sessions:MaxResidentBytes", "125000"));
        var session = await service.CreateAsync("""{"name":"one","num_features":1000}""");
        for (var i = 0; i < 20; i++)
        {
            (await service.Client.PostAsync("/v1/sessions", """{"name":"one","num_features":1000}""")).ExpectProblem("session-exists");
            (await session.TrainAsync("""{"x":[[1,2],[3,4]]}""")).ExpectProblem("shape-mismatch");
            (await session.PatchAsync("""{"eps":0.5,"labels":{"a":"b"}}""", ("If-Match", "\"9\""))).ExpectProblem("version-conflict");
        }
        var x = Batch.Random(1, 2, 1000);
        (await session.TrainAsync(x)).Expect(200);
        await service.CreateAsync("""{"name":"two","num_features":1000}""");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_body_may_be_as_large_as_the_limit_and_no_larger(bool hasLength)
    {
        using var service = Service.With(("Limits:MaxBodyBytes", "2000"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await SendAsync(service, session, 2000, hasLength)).Expect(200);
        foreach (var length in (int[])[2001, 2100, 1_000_000])
        {
            var answer = await session.RefusedAsync(s => SendAsync(service, s, length, hasLength));
            answer.ExpectProblem("payload-too-large", "the body must be at most 2000 bytes (Limits:MaxBodyBytes), got ");
        }
    }

    private static Task<Answer> SendAsync(Service service, SessionClient session, int length, bool hasLength)
    {
        var body = Encoding.UTF8.GetBytes("""{"x":[[1,2],[3,4]]}""".PadRight(length));
        return service.Client.SendAsync(HttpMethod.Post, $"{session.Path}/train-step",
            hasLength ? ServiceClient.JsonContent(body) : new PiecewiseContent(body, Forms.Json));
    }
}
