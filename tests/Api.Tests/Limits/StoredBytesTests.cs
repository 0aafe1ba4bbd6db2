using System.Text.Json;

namespace BnService.Api.Tests.Limits;

/// <summary>What is stored of a key's sessions is bounded in bytes, and counted by what there is.</summary>
public sealed class StoredBytesTests : IDisposable
{
    // So many that an array of one value is stored as that value.
    private const int Features = 5000;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-bytes").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Mean and variance that differ are 80 kB: two sessions have room, or one and its snapshot.</summary>
    [Theory]
    [InlineData("sqlite")]
    [InlineData("memory")]
    public async Task A_key_stores_no_more_bytes_than_allowed(string engine)
    {
        using var keyed = await StartAsync(engine, ("Limits:MaxBytesPerKey", "200000"));
        foreach (var prefix in new[] { "one.", "other." })
        {
            var key = KeyedService.Bearer(await keyed.KeyAsync("trainer", prefix));
            await CreateAsync(keyed.Client, $"{prefix}a", key);
            await CreateAsync(keyed.Client, $"{prefix}b", key);
            await CreateAsync(keyed.Client, $"{prefix}c", key);
            (await FillAsync(keyed.Client, $"{prefix}a", key)).Expect(200);
            (await FillAsync(keyed.Client, $"{prefix}b", key)).Expect(200);
            await RefusedAsync(() => FillAsync(keyed.Client, $"{prefix}c", key));
            await RefusedAsync(() => keyed.Client.PostAsync($"/v1/sessions/{prefix}a/snapshots", "{}", key));
            await RefusedAsync(() => keyed.Client.PostAsync($"/v1/sessions/{prefix}c/train-step", $$"""{"x":{{Batch.Random(1, 2, Features).Json}}}""", key));
            Assert.Equal(1, (await keyed.Client.GetAsync($"/v1/sessions/{prefix}c", key)).Version);
            // What is there goes on, and so does what costs nothing; what goes makes room, whoever deletes it.
            (await FillAsync(keyed.Client, $"{prefix}a", key)).Expect(200);
            (await keyed.Client.PatchAsync($"/v1/sessions/{prefix}c", """{"eps":0.5}""", key)).Expect(200);
            (await keyed.Client.DeleteAsync($"/v1/sessions/{prefix}b", KeyedService.Bearer(keyed.Admin))).Expect(204);
            (await keyed.Client.PostAsync($"/v1/sessions/{prefix}a/snapshots", "{}", key)).Expect(201);
            await RefusedAsync(() => FillAsync(keyed.Client, $"{prefix}c", key));
            var version = (await keyed.Client.GetAsync($"/v1/sessions/{prefix}a", key)).Version;
            (await keyed.Client.DeleteAsync($"/v1/sessions/{prefix}a/snapshots/{version}", key)).Expect(204);
            (await FillAsync(keyed.Client, $"{prefix}c", key)).Expect(200);
        }

        static async Task RefusedAsync(Func<Task<Answer>> call) =>
            (await call()).ExpectProblem("limit-reached", "the sessions of key '", " bytes and would take ", "Limits:MaxBytesPerKey allows 200000");
    }

    [Fact]
    public async Task Sessions_without_a_key_count_in_all()
    {
        using var service = Service.With(("Limits:MaxStoredBytes", "200000"), ("Limits:MaxBytesPerKey", "1024"));
        foreach (var name in new[] { "a", "b", "c" }) await CreateAsync(service.Client, name);
        (await FillAsync(service.Client, "a")).Expect(200);
        (await FillAsync(service.Client, "b")).Expect(200);
        (await FillAsync(service.Client, "c")).ExpectProblem("limit-reached", "all sessions take ", "Limits:MaxStoredBytes allows 200000");
    }

    /// <summary>The answer of an update has gamma and beta, and is remembered under its key.</summary>
    [Fact]
    public async Task Large_answers_that_are_remembered_count()
    {
        using var keyed = await StartAsync("sqlite", ("Limits:MaxBytesPerKey", "500000"));
        var key = KeyedService.Bearer(await keyed.KeyAsync("trainer"));
        await CreateAsync(keyed.Client, "a", key);
        var x = Batch.Random(1, 2, Features).Json;
        for (var i = 0; ; i++)
        {
            var answer = await keyed.Client.PostAsync("/v1/sessions/a/backward", $$$"""{"x":{{{x}}},"dy":{{{x}}},"update":{"optimizer":"sgd","learning_rate":0.1}}""",
                key, ("Idempotency-Key", $"k{i}"));
            Assert.InRange(i, 0, 10);
            if (answer.Status == 200) continue;
            answer.ExpectProblem("limit-reached", "Limits:MaxBytesPerKey");
            Assert.InRange(i, 3, 10);
            return;
        }
    }

    [Fact]
    public async Task Of_each_key_it_is_listed_what_is_stored()
    {
        using var keyed = await StartAsync("sqlite");
        var text = await keyed.KeyAsync("trainer");
        var key = KeyedService.Bearer(text);
        Assert.Equal((0, 0), await UsageAsync());
        await CreateAsync(keyed.Client, "a", key);
        await CreateAsync(keyed.Client, "b", key);
        (await FillAsync(keyed.Client, "a", key)).Expect(200);
        var (sessions, bytes) = await UsageAsync();
        Assert.Equal(2, sessions);
        Assert.InRange(bytes, 16 * Features, 16 * Features + 8000);

        async Task<(long Sessions, long Bytes)> UsageAsync()
        {
            var listed = (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(keyed.Admin))).Expect(200)["keys"].EnumerateArray()
                .Single(entry => entry.GetProperty("id").GetString() == KeyedService.IdOf(text));
            return (listed.GetProperty("sessions").GetInt64(), listed.GetProperty("bytes").GetInt64());
        }
    }

    [Fact]
    public async Task Writes_at_the_same_time_do_not_pass_the_limit()
    {
        using var keyed = await StartAsync("memory", ("Limits:MaxBytesPerKey", "300000"));
        var key = KeyedService.Bearer(await keyed.KeyAsync("trainer"));
        for (var i = 0; i < 20; i++) await CreateAsync(keyed.Client, $"s{i}", key);
        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Task.Run(() => FillAsync(keyed.Client, $"s{i}", key))));
        Assert.InRange(answers.Count(answer => answer.Status == 200), 1, 3);
    }

    private Task<KeyedService> StartAsync(string engine, params (string Key, string Value)[] settings) =>
        KeyedService.StartAsync([("Storage:Engine", engine), ("Storage:Path", Path.Combine(_folder, "bn.db")), .. settings]);

    private static async Task CreateAsync(ServiceClient client, string name, params (string Name, string Value)[] headers) =>
        (await client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":{{Features}}}""", headers)).Expect(201);

    private static Task<Answer> FillAsync(ServiceClient client, string name, params (string Name, string Value)[] headers)
    {
        var values = JsonSerializer.Serialize(Enumerable.Range(1, Features).Select(i => i / 7.0));
        return client.SendAsync(HttpMethod.Put, $"/v1/sessions/{name}/running-stats",
            ServiceClient.JsonContent($$"""{"running_mean":{{values}},"running_var":{{values}}}"""), headers);
    }
}
