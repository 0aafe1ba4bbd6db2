using System.Text.Json;

namespace BnService.Api.Tests.Sessions;

/// <summary>What a page of the list says of how sessions are, and lists by it.</summary>
public sealed class SessionHealthTests
{
    private const string Small = """{"x":[[1,2],[3,5]],"retain":false}""";

    [Fact]
    public async Task Health_drift_and_total_are_there_where_they_are_asked_for()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"one","num_features":2}""");
        await service.CreateAsync("""{"name":"two","num_features":2}""");
        for (var i = 0; i < 40; i++) (await session.TrainAsync(Small)).Expect(200);
        var plain = (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        Assert.False(plain["sessions"][0].TryGetProperty("health", out _) || plain["sessions"][0].TryGetProperty("drift", out _) || plain.Json.TryGetProperty("total", out _));

        var answer = (await service.Client.GetAsync("/v1/sessions?limit=1&include=total,health,drift")).Expect(200);
        Assert.Equal(2, answer["total"].GetInt64());
        Assert.Equal("settling", answer["sessions"][0].GetProperty("health").GetProperty("mark").GetString());
        Assert.Empty(answer["sessions"][0].GetProperty("drift").EnumerateArray());
        answer = (await service.Client.GetAsync("/v1/sessions?include=health,drift&search=ONE")).Expect(200);
        Assert.Equal("small_batches", answer["sessions"][0].GetProperty("health").GetProperty("mark").GetString());
        Assert.Contains("2 values per statistic", answer["sessions"][0].GetProperty("health").GetProperty("reason").GetString(), StringComparison.Ordinal);
        var history = (await session.HistoryAsync("?limit=32")).Expect(200)["steps"].EnumerateArray();
        Assert.Equal(history.Select(step => step.GetProperty("drift").GetProperty("kl_divergence").GetDouble()).Reverse(),
            answer["sessions"][0].GetProperty("drift").EnumerateArray().Select(value => value.GetDouble()));
    }

    [Fact]
    public async Task What_is_served_counts_as_well_and_the_list_says_what_the_diagnostics_say()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"served","num_features":3}""");
        for (var i = 0; i < 60; i++) (await session.TrainAsync(Batch.Random(i, 32, 3))).Expect(200);
        Assert.Equal(["served"], await NamesAsync(service, "health=healthy"));
        var x = Batch.Random(99, 32, 3);
        (await session.InferAsync(x with { Data = [.. x.Data.Select(value => value + 50)] })).Expect(200);
        Assert.Equal(["served"], await NamesAsync(service, "health=drifting"));
        Assert.Empty(await NamesAsync(service, "health=healthy"));
        var findings = (await session.DiagnosticsAsync())["findings"].EnumerateArray().Select(finding => finding.GetProperty("detail").GetString());
        var listed = (await service.Client.GetAsync("/v1/sessions?include=health"))["sessions"][0].GetProperty("health").GetProperty("reason").GetString();
        Assert.Contains(listed, findings);
    }

    [Fact]
    public async Task A_session_that_was_imported_says_that_no_batch_has_been_seen()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"imported","num_features":2}""");
        foreach (var tracked in (string[])["", ",\"num_batches_tracked\":0", ",\"num_batches_tracked\":1000"])
        {
            (await service.Client.PutAsync("/v1/sessions/imported/state", $$"""{"running_mean":[1,2],"running_var":[3,4]{{tracked}}}""")).Expect(200);
            foreach (var health in (JsonElement[])[(await session.DiagnosticsAsync())["health"],
                (await service.Client.GetAsync("/v1/sessions?include=health"))["sessions"][0].GetProperty("health")])
            {
                Assert.Equal(tracked.EndsWith(":0", StringComparison.Ordinal) ? "settling" : "healthy", health.GetProperty("mark").GetString());
                Assert.StartsWith("imported, no batch seen yet", health.GetProperty("reason").GetString(), StringComparison.Ordinal);
            }
        }
        (await session.InferAsync(Batch.Random(1, 32, 2))).Expect(200);
        Assert.DoesNotContain("no batch", (await session.DiagnosticsAsync())["health"].GetProperty("reason").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pages_of_one_health_hold_each_of_its_sessions_once_however_few_they_are_among_the_others()
    {
        using var service = new Service();
        var expected = new List<string>();
        for (var i = 0; i < 2500; i++)
        {
            var session = await service.CreateAsync($$"""{"name":"s{{i}}","num_features":2}""");
            if (i % 500 != 7) continue;
            (await session.TrainAsync(Small)).Expect(200);
            expected.Insert(0, session.Name);
        }
        foreach (var limit in (int[])[1, 2, 50])
        {
            var (seen, cursor) = (new List<string>(), "");
            while (true)
            {
                var page = (await service.Client.GetAsync($"/v1/sessions?health=small_batches&limit={limit}{cursor}")).Expect(200);
                Assert.True(seen.Count <= expected.Count, "a page leads back to what was there before");
                seen.AddRange(page["sessions"].EnumerateArray().Select(session => session.GetProperty("name").GetString()!));
                if (page["next_cursor"].GetString() is not { } next) break;
                cursor = $"&cursor={next}";
            }
            Assert.Equal(expected, seen);
        }
        Assert.Equal(2495, (await NamesAsync(service, "health=settling&limit=1000")).Count + (await CountAfterFirstAsync(service)));
    }

    [Fact]
    public async Task A_session_is_found_by_a_part_of_its_name_and_signs_mean_themselves()
    {
        using var service = new Service();
        foreach (var name in (string[])["team.Alpha_1", "team.beta_10", "ALPHA", "other"]) await service.CreateAsync($$"""{"name":"{{name}}","num_features":1}""");
        Assert.Equal(["ALPHA", "team.Alpha_1"], await NamesAsync(service, "search=alpha"));
        Assert.Equal(["team.beta_10", "team.Alpha_1"], await NamesAsync(service, "search=_1"));
        Assert.Equal(["team.beta_10"], await NamesAsync(service, "search=BETA&prefix=team.&kind=batch_norm"));
        Assert.Empty(await NamesAsync(service, "search=%25"));
        Assert.Empty(await NamesAsync(service, "search=a_pha"));
        Assert.Equal(4, (await NamesAsync(service, "search=")).Count);
        Assert.Equal(2, (await service.Client.GetAsync("/v1/sessions?search=Alpha&include=total&limit=1"))["total"].GetInt64());
    }

    [Theory]
    [InlineData("health=ill", "health must be one of healthy, settling, small_batches, drifting, dead_channels, got 'ill'")]
    [InlineData("health=", "health must be one of")]
    [InlineData("include=everything", "include must be some of health,drift,total, got 'everything'")]
    public async Task What_there_is_not_is_refused(string query, string detail)
    {
        using var service = new Service();
        (await service.Client.GetAsync($"/v1/sessions?{query}")).ExpectProblem("invalid-option", detail);
    }

    [Fact]
    public async Task A_search_that_is_longer_than_any_name_is_refused()
    {
        using var service = new Service();
        (await service.Client.GetAsync($"/v1/sessions?search={new string('a', 129)}")).ExpectProblem("invalid-option", "search has at most 128 characters, got 129");
    }

    private static async Task<int> CountAfterFirstAsync(Service service)
    {
        var (count, cursor) = (0, (await service.Client.GetAsync("/v1/sessions?health=settling&limit=1000"))["next_cursor"].GetString());
        while (cursor is not null)
        {
            var page = (await service.Client.GetAsync($"/v1/sessions?health=settling&limit=1000&cursor={cursor}")).Expect(200);
            (count, cursor) = (count + page["sessions"].GetArrayLength(), page["next_cursor"].GetString());
        }
        return count;
    }

    private static async Task<List<string>> NamesAsync(Service service, string query) =>
        [.. (await service.Client.GetAsync($"/v1/sessions?{query}")).Expect(200)["sessions"].EnumerateArray().Select(session => session.GetProperty("name").GetString()!)];
}
