using System.Text.Json;
using Microsoft.Data.Sqlite;

namespace BnService.Api.Tests.Storage;

/// <summary>Rows of the file that are not as they were written: each is in trouble alone, and says so.</summary>
public sealed class DamagedRowsTests : IDisposable
{
    private const string X = """{"x":[[1,2],[3,5],[4,1]]}""";

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-damaged").FullName;

    /// <summary>What may happen to a row: a flipped bit in the numbers, in the header's text, a text in place of bytes, nothing, another version.</summary>
    public static TheoryData<string> Flaws =>
    [
        "state = CAST(substr(state, 1, length(state) - 1) || x'7F' AS BLOB)", "state = x''", "state = substr(state, 1, 40)",
        "header = CAST(replace(CAST(header AS TEXT), '\"Momentum\":0.1', '\"Momentum\":0.3') AS BLOB)", "header = 'garbage'", "header = x'00'",
        "header = CAST('null' AS BLOB)", "header = CAST('{}' AS BLOB)", "version = version + 2", "created_at = -1",
    ];

    private string File => Path.Combine(_folder, "bn.db");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [MemberData(nameof(Flaws))]
    public async Task A_damaged_session_alone_is_refused_by_every_call_and_can_be_deleted(string flaw)
    {
        await PrepareAsync();
        await DamageAsync($"UPDATE sessions SET {flaw} WHERE name = 'bad'");
        using var service = Open();
        var (bad, good) = (new SessionClient(service.Client, "bad"), new SessionClient(service.Client, "good"));
        foreach (var (method, path, body) in new (string, string, string?)[]
        {
            ("GET", "", null), ("GET", "/stats", null), ("GET", "/state", null), ("GET", "/diagnostics", null), ("GET", "/history", null), ("GET", "/events", null),
            ("POST", "/train-step", X), ("POST", "/inference", X), ("POST", "/inference?version=2", X), ("POST", "/reset", null), ("PATCH", "", """{"momentum":0.2}"""),
            ("POST", "/fold", """{"layer":"linear","weight":[[1,2]]}"""), ("POST", "/snapshots", null), ("POST", "/calibration/batches", X), ("POST", "/merge", """{"sessions":["good"]}"""),
            ("PUT", "/parameters", """{"gamma":[1,1]}"""), ("PUT", "/running-stats", """{"running_mean":[1,1]}"""), ("PUT", "", """{"num_features":2}"""),
        })
        {
            var answer = await bad.SendAsync(new HttpMethod(method), path.TrimStart('/'), ServiceClient.JsonContent(body));
            if (path.Length == 0) answer = await service.Client.SendAsync(new HttpMethod(method), bad.Path, ServiceClient.JsonContent(body));
            Assert.Contains("session 'bad' is damaged", answer.ExpectProblem("state-damaged").Detail, StringComparison.Ordinal);
        }
        (await good.MergeAsync("""{"sessions":["bad"]}""")).ExpectProblem("state-damaged");
        foreach (var path in (string[])["/v2/models/bad", "/v2/models/bad/ready", "/v2/models/bad/stats"]) Assert.Equal(400, (await service.Client.GetAsync(path)).Status);
        (await good.TrainAsync(X)).Expect(200);
        (await bad.DeleteAsync()).Expect(204);
        (await bad.GetAsync()).ExpectProblem("session-not-found");
        (await service.Client.CreateAsync("""{"name":"bad","num_features":2}""")).Path.ToString();
    }

    [Theory]
    [InlineData("")]
    [InlineData("?include=health,drift,total")]
    [InlineData("?include=health&health=settling")]
    [InlineData("?limit=1")]
    [InlineData("?search=a")]
    public async Task A_list_goes_on_and_names_what_is_damaged(string query)
    {
        await PrepareAsync();
        await DamageAsync("UPDATE sessions SET header = 'garbage' WHERE name = 'bad'");
        using var service = Open();
        var (names, damaged, cursor) = (new List<string>(), new List<string>(), "");
        do
        {
            var page = (await service.Client.GetAsync($"/v1/sessions{query}{cursor}")).Expect(200).Json;
            names.AddRange(page.GetProperty("sessions").EnumerateArray().Select(session => session.GetProperty("name").GetString()!));
            if (page.TryGetProperty("damaged", out var list)) damaged.AddRange(list.EnumerateArray().Select(session => session.GetProperty("name").GetString()!));
            cursor = page.GetProperty("next_cursor").GetString() is { } next ? $"&cursor={next}" : "";
        }
        while (cursor.Length > 0);
        var byHealth = query.Contains("health=", StringComparison.Ordinal);
        if (!byHealth) Assert.Equal(query.Contains("search", StringComparison.Ordinal) ? [] : ["good"], names);
        Assert.Equal(byHealth ? [] : ["bad"], damaged);
    }

    [Fact]
    public async Task The_index_of_models_says_which_one_cannot_be_used()
    {
        await PrepareAsync();
        await DamageAsync("UPDATE sessions SET header = 'garbage' WHERE name = 'bad'");
        using var service = Open();
        var all = (await service.Client.PostAsync("/v2/repository/index", null)).Expect(200).Json.EnumerateArray().ToList();
        Assert.Equal(["UNAVAILABLE"], States(all, "bad").Distinct());
        Assert.Equal(["READY"], States(all, "good").Distinct());
        var ready = (await service.Client.PostAsync("/v2/repository/index", """{"ready":true}""")).Expect(200).Json.EnumerateArray().ToList();
        Assert.Empty(States(ready, "bad"));
        Assert.NotEmpty(States(ready, "good"));
        (await service.Client.GetAsync("/v2/models/stats")).Expect(200);
    }

    [Theory]
    [InlineData("header = 'garbage'")]
    [InlineData("state = x'00'")]
    public async Task A_damaged_session_is_restored_from_a_snapshot_that_is_not(string flaw)
    {
        await PrepareAsync();
        await DamageAsync($"UPDATE sessions SET {flaw} WHERE name = 'bad'");
        using var service = Open();
        var bad = new SessionClient(service.Client, "bad");
        Assert.Equal(2, (await bad.SnapshotsAsync()).Expect(200).Json.GetProperty("snapshots")[0].GetProperty("version").GetInt64());
        var frozen = (await bad.GetSnapshotAsync(2)).Expect(200).Json.GetProperty("state");
        (await bad.RestoreAsync(2, ("If-Match", "\"1\""))).ExpectProblem("version-conflict");
        Assert.Equal(4, (await bad.RestoreAsync(2)).Expect(200).Json.GetProperty("version").GetInt64());
        Assert.True(JsonElement.DeepEquals(frozen.GetProperty("running_mean"), (await bad.GetStateAsync()).Expect(200).Json.GetProperty("running_mean")));
        Assert.Equal("one", (await bad.GetAsync()).Expect(200).Json.GetProperty("labels").GetProperty("team").GetString());
        (await bad.TrainAsync(X)).Expect(200);
    }

    [Theory]
    [InlineData("header = 'garbage'")]
    [InlineData("state = x'00'")]
    public async Task A_damaged_session_is_replaced_by_a_whole_state(string flaw)
    {
        var state = await PrepareAsync();
        await DamageAsync($"UPDATE sessions SET {flaw} WHERE name = 'bad'");
        using var service = Open();
        var bad = new SessionClient(service.Client, "bad");
        (await bad.PutStateAsync(Forms.Json, System.Text.Encoding.UTF8.GetBytes("""{"kind":"layer_norm","normalized_shape":[2],"gamma":[1,1]}"""))).ExpectProblem("invalid-option");
        (await bad.PutStateAsync(Forms.Json, System.Text.Encoding.UTF8.GetBytes(state.Text))).Expect(200);
        var now = (await bad.GetStateAsync()).Expect(200).Json;
        foreach (var field in (string[])["running_mean", "running_var", "gamma", "beta", "options"])
        {
            if (state.Json.TryGetProperty(field, out var before)) Assert.True(JsonElement.DeepEquals(before, now.GetProperty(field)), field);
        }
        (await bad.TrainAsync(X)).Expect(200);
    }

    [Theory]
    [InlineData("header = 'garbage'")]
    [InlineData("state = CAST(substr(state, 1, length(state) - 1) || x'7F' AS BLOB)")]
    public async Task A_damaged_snapshot_alone_is_refused_and_can_be_deleted(string flaw)
    {
        await PrepareAsync();
        await DamageAsync($"UPDATE snapshots SET {flaw}");
        using var service = Open();
        var session = new SessionClient(service.Client, "bad");
        (await session.GetSnapshotAsync(2)).ExpectProblem("state-damaged");
        (await session.RestoreAsync(2)).ExpectProblem("state-damaged");
        (await service.Client.PostAsync($"{session.Path}/inference?version=2", X)).ExpectProblem("state-damaged");
        Assert.Equal(400, (await service.Client.GetAsync("/v2/models/bad/versions/2")).Status);
        var list = (await session.SnapshotsAsync()).Expect(200).Json;
        Assert.Equal(flaw.Contains("header", StringComparison.Ordinal), list.TryGetProperty("damaged", out _));
        (await session.TrainAsync(X)).Expect(200);
        (await session.DeleteSnapshotAsync(2)).Expect(204);
        Assert.Empty((await session.SnapshotsAsync()).Expect(200).Json.GetProperty("snapshots").EnumerateArray());
    }

    [Theory]
    [InlineData("content = CAST(substr(content, 1, length(content) - 30) || x'00' || substr(content, length(content) - 28) AS BLOB)")]
    [InlineData("content = 'garbage'")]
    public async Task A_damaged_answer_is_neither_told_nor_made_again(string flaw)
    {
        await PrepareAsync();
        await DamageAsync($"UPDATE answers SET {flaw}");
        using var service = Open();
        var session = new SessionClient(service.Client, "bad");
        var version = (await session.GetAsync()).Expect(200).ETag;
        Assert.Contains("Idempotency-Key 'k'", (await session.TrainAsync(X, ("Idempotency-Key", "k"))).ExpectProblem("state-damaged").Detail, StringComparison.Ordinal);
        Assert.Equal(version, (await session.GetAsync()).ETag);
        (await session.TrainAsync(X, ("Idempotency-Key", "k2"))).Expect(200);
    }

    [Fact]
    public async Task A_damaged_history_is_left_out()
    {
        await PrepareAsync(withHistory: true);
        await DamageAsync("UPDATE traffic SET content = CAST(substr(content, 1, 20) || x'00' || substr(content, 22) AS BLOB)");
        using var service = Open();
        var session = new SessionClient(service.Client, "bad");
        Assert.Empty((await session.HistoryAsync()).Expect(200).Json.GetProperty("steps").EnumerateArray());
        (await session.TrainAsync(X)).Expect(200);
    }

    // A session with a snapshot of version 2, at version 3, with an answer under key k and a history; and one more. The state of the first.
    private async Task<Answer> PrepareAsync(bool withHistory = false)
    {
        using var service = Open();
        await service.Client.CreateAsync("""{"name":"good","num_features":2}""");
        var bad = await service.Client.CreateAsync("""{"name":"bad","num_features":2,"labels":{"team":"one"}}""");
        (await bad.TrainAsync(X)).Expect(200);
        (await bad.SnapshotAsync()).Expect(201);
        (await bad.TrainAsync(X, ("Idempotency-Key", "k"))).Expect(200);
        var state = (await bad.GetStateAsync()).Expect(200);
        if (withHistory) await Eventually.TrueAsync(() => ExecuteAsync("UPDATE traffic SET content = content").GetAwaiter().GetResult() > 0, "no history is kept");
        return state;
    }

    private async Task DamageAsync(string sql)
    {
        // The service that is disposed of gives the file back a moment later.
        await Eventually.TrueAsync(IsFree, "the file stays in use");
        Assert.True(await ExecuteAsync(sql) > 0);
    }

    private bool IsFree()
    {
        try
        {
            using var file = new FileStream(File + ".lock", FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private async Task<int> ExecuteAsync(string sql)
    {
        await using var connection = new SqliteConnection($"Data Source={File};Pooling=false");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        return await command.ExecuteNonQueryAsync();
    }

    private Service Open() => Service.With(("Storage:Engine", "sqlite"), ("Storage:Path", File));

    private static IEnumerable<string> States(List<JsonElement> index, string name) =>
        index.Where(model => model.GetProperty("name").GetString() == name).Select(model => model.GetProperty("state").GetString()!);
}
