using System.Text.Json;

namespace BnService.Api.Tests.Auth;

/// <summary>Two tenants of one service: each sees and touches its own sessions, and cannot tell another's from one that is not there.</summary>
public sealed class ScopeTests : IAsyncLifetime
{
    private const string X = """{"x":[[1,2],[3,5]]}""";

    private KeyedService _keyed = null!;
    private (string Name, string Value) _admin, _red, _blue;

    public async Task InitializeAsync()
    {
        _keyed = await KeyedService.StartAsync();
        _admin = KeyedService.Bearer(_keyed.Admin);
        _red = KeyedService.Bearer(await _keyed.KeyAsync("trainer", "red-"));
        _blue = KeyedService.Bearer(await _keyed.KeyAsync("trainer", "blue-"));
    }

    public Task DisposeAsync()
    {
        _keyed.Dispose();
        return Task.CompletedTask;
    }

    private ServiceClient Client => _keyed.Client;

    /// <summary>Every call that names a session in its path, by its name and by its id: the answer is that of a session that is not there.</summary>
    [Fact]
    public async Task Anothers_session_is_answered_as_one_that_is_not_there()
    {
        var theirs = (await CreateAsync("blue-a", _blue)).Expect(201);
        (await Client.PostAsync("/v1/sessions/blue-a/train-step", X, _blue)).Expect(200);
        (await Client.PostAsync("/v1/sessions/blue-a/snapshots", null, _blue)).Expect(201);
        var before = (await Client.GetAsync("/v1/sessions/blue-a/state", _admin)).Expect(200);
        // In the place of both, something of the same length that is not there.
        foreach (var (name, missing) in new[] { ("blue-a", "blue-b"), (theirs["id"].GetString()!, new string('0', 32)) })
        {
            var calls = 0;
            foreach (var operation in ApiDocument.CheckedIn.Operations.Where(operation => operation.Template.Contains("{session}", StringComparison.Ordinal)))
            {
                var body = operation.Element.TryGetProperty("requestBody", out var content)
                    ? JsonSerializer.Serialize(content.GetProperty("content").GetProperty("application/json").GetProperty("example")).Replace("demo", name, StringComparison.Ordinal)
                    : null;
                var (found, notFound) = (await SendAsync(operation, name, body), await SendAsync(operation, missing, body));
                found.ExpectProblem("session-not-found");
                Assert.Equal(Comparable(notFound, missing), Comparable(found, name));
                calls++;
            }
            Assert.True(calls >= 20, $"{calls} calls");
            foreach (var path in (string[])["", "/config", "/ready", "/stats", "/versions/2", "/versions/2/ready"])
                Assert.Equal($"there is no model '{name}'", (await Client.GetAsync($"/v2/models/{name}{path}", _red)).Expect(404)["error"].GetString());
            (await Client.PostAsync($"/v2/models/{name}/infer", """{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}""", _red)).Expect(404);
            // Not even its version can be asked for, nor does a condition find it.
            (await Client.PostAsync($"/v1/sessions/{name}/inference", X, _red, ("Bn-Min-Version", "99"))).ExpectProblem("session-not-found");
            (await Client.PutAsync($"/v1/sessions/{name}/state", """{"weight":[1,1]}""", _red, ("If-Match", "\"99\""))).ExpectProblem("session-not-found");
            (await Client.PutAsync($"/v1/sessions/{name}", """{"num_features":2}""", _red)).ExpectProblem("session-not-found");
            (await Client.DeleteAsync($"/v1/sessions/{name}", _red, ("If-Match", "\"99\""))).ExpectProblem("session-not-found");
        }
        Assert.Equal(before.Text, (await Client.GetAsync("/v1/sessions/blue-a/state", _admin)).Expect(200).Text);
        Assert.Equal(1, (await Client.GetAsync("/v1/sessions", _admin)).Expect(200)["sessions"].GetArrayLength());
    }

    [Fact]
    public async Task A_tenant_works_with_its_own_sessions_as_anybody_does()
    {
        (await CreateAsync("red-a", _red)).Expect(201);
        (await Client.PostAsync("/v1/sessions/red-a/train-step", X, _red)).Expect(200);
        (await Client.PostAsync("/v1/sessions/red-a/inference", X, _red)).Expect(200);
        (await Client.GetAsync("/v1/sessions/red-a/stats", _red)).Expect(200);
        (await Client.PutAsync("/v1/sessions/red-new/state", """{"weight":[1,1],"bias":[0,0],"running_mean":[1,1],"running_var":[1,1],"num_batches_tracked":1}""", _red)).Expect(201);
        (await Client.GetAsync("/v2/models/red-a/ready", _red)).Expect(200);
        (await Client.DeleteAsync("/v1/sessions/red-a", _red)).Expect(204);
    }

    [Fact]
    public async Task A_new_session_is_within_the_prefix_or_refused()
    {
        foreach (var name in (string[])["blue-a", "red", "Red-a", "a"])
        {
            (await CreateAsync(name, _red)).ExpectProblem("forbidden", "'red-'", name);
            (await Client.PutAsync($"/v1/sessions/{name}/state", """{"weight":[1,1],"num_batches_tracked":1}""", _red)).ExpectProblem("session-not-found", name);
        }
        var unnamed = (await Client.PostAsync("/v1/sessions", """{"num_features":2}""", _red)).Expect(201);
        Assert.Equal($"red-{unnamed["id"].GetString()}", unnamed.Name);
        foreach (var name in (string[])[unnamed.Name, unnamed["id"].GetString()!]) (await Client.GetAsync($"/v1/sessions/{name}", _red)).Expect(200);
        (await CreateAsync("red-a", _red)).Expect(201);
        (await CreateAsync("red-a", _red)).ExpectProblem("session-exists");
        (await CreateAsync("red-", _red)).Expect(201);
    }

    [Fact]
    public async Task The_longest_prefix_leaves_room_for_an_id()
    {
        var prefix = new string('p', 96);
        var key = KeyedService.Bearer(await _keyed.KeyAsync("trainer", prefix));
        var created = (await Client.PostAsync("/v1/sessions", """{"num_features":2}""", key)).Expect(201);
        Assert.Equal(128, created.Name.Length);
        (await Client.GetAsync($"/v1/sessions/{created.Name}", key)).Expect(200);
    }

    [Fact]
    public async Task Lists_have_a_tenants_sessions_alone_and_their_pages_have_no_gaps()
    {
        for (var i = 0; i < 7; i++)
        {
            (await CreateAsync($"red-{i}", _red)).Expect(201);
            (await CreateAsync($"blue-{i}", _blue)).Expect(201);
            (await CreateAsync($"other{i}", _admin)).Expect(201);
        }
        Assert.Equal(["red-6", "red-5", "red-4", "red-3", "red-2", "red-1", "red-0"], await ListAsync("", _red));
        Assert.Equal(21, (await ListAsync("", _admin)).Count);
        Assert.Equal(["red-3"], await ListAsync("&prefix=red-3", _red));
        Assert.Equal(7, (await ListAsync("&prefix=r", _red)).Count);
        foreach (var prefix in (string[])["blue-", "blue-3", "b", "other", "red_", "Red-"]) Assert.Empty(await ListAsync($"&prefix={prefix}", _red));
        // What the protocol lists, and counts.
        var index = (await Client.PostAsync("/v2/repository/index", "{}", _red)).Expect(200);
        Assert.Equal(7, index.Json.GetArrayLength());
        Assert.All(index.Json.EnumerateArray(), model => Assert.StartsWith("red-", model.GetProperty("name").GetString(), StringComparison.Ordinal));
        var statistics = (await Client.GetAsync("/v2/models/stats", _red)).Expect(200);
        Assert.Equal(7, statistics["model_stats"].GetArrayLength());
        Assert.DoesNotContain("blue-", statistics.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_merged_is_ones_own()
    {
        foreach (var (name, key) in new[] { ("red-a", _red), ("red-b", _red), ("blue-a", _blue) })
        {
            (await CreateAsync(name, key)).Expect(201);
            (await Client.PostAsync($"/v1/sessions/{name}/train-step", X, key)).Expect(200);
        }
        var id = (await Client.GetAsync("/v1/sessions/blue-a", _blue)).Expect(200)["id"].GetString()!;
        foreach (var other in (string[])["blue-a", id, "blue-nosuch"])
        {
            (await Client.PostAsync("/v1/sessions/red-a/merge", $$"""{"sessions":["red-b","{{other}}"]}""", _red))
                .ExpectProblem("session-not-found", $"there is no session '{other}'");
        }
        (await Client.PostAsync("/v1/sessions/red-a/merge", """{"sessions":["red-b"]}""", _red)).Expect(200);
        (await Client.PostAsync("/v1/sessions/red-a/merge", """{"sessions":["blue-a"]}""", _admin)).Expect(200);
    }

    /// <summary>To create a session of a name that is another's id is refused, and does not go round in a circle.</summary>
    [Fact]
    public async Task Anothers_id_is_no_name()
    {
        var id = (await CreateAsync("blue-a", _blue)).Expect(201)["id"].GetString()!;
        var key = KeyedService.Bearer(await _keyed.KeyAsync("trainer", id[..8]));
        (await CreateAsync(id, key)).ExpectProblem("session-exists");
        (await Client.PutAsync($"/v1/sessions/{id}/state", """{"options":{"kind":"batch_norm"},"weight":[1,1],"num_batches_tracked":1}""", key)).ExpectProblem("session-exists");
        (await Client.GetAsync($"/v1/sessions/{id}", key)).ExpectProblem("session-not-found");
    }

    private Task<Answer> CreateAsync(string name, (string, string) key) => Client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":2}""", key);

    private async Task<List<string>> ListAsync(string query, (string, string) key)
    {
        var names = new List<string>();
        for (string? cursor = ""; cursor is not null;)
        {
            var page = (await Client.GetAsync($"/v1/sessions?limit=3{query}{cursor}", key)).Expect(200);
            names.AddRange(page["sessions"].EnumerateArray().Select(session => session.GetProperty("name").GetString()!));
            cursor = page.Json.TryGetProperty("next_cursor", out var next) && next.ValueKind == JsonValueKind.String ? $"&cursor={next.GetString()}" : null;
        }
        return names;
    }

    private Task<Answer> SendAsync(ApiOperation operation, string session, string? body)
    {
        var path = operation.Template.Replace("{session}", session, StringComparison.Ordinal).Replace("{version}", "2", StringComparison.Ordinal).Replace("{group}", "g", StringComparison.Ordinal);
        if (path.Contains("/sync/", StringComparison.Ordinal)) path += "?rank=0&world_size=1";
        return Client.SendAsync(new HttpMethod(operation.Method), path, ServiceClient.JsonContent(body), _red);
    }

    private static string Comparable(Answer answer, string name) =>
        $"{answer.Status} {answer["code"].GetString()} {answer.Detail.Replace(name, "<name>", StringComparison.Ordinal)}";
}
