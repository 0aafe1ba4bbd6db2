using System.Text.Json;

namespace BnService.Api.Tests.Sessions;

public sealed class ListSessionsTests
{
    [Fact]
    public async Task Without_sessions_the_list_is_empty()
    {
        using var service = new Service();
        var answer = (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        Assert.Equal("""{"sessions":[],"next_cursor":null}""", answer.Text);
    }

    [Fact]
    public async Task Sessions_come_newest_first_and_as_they_are_now()
    {
        var time = new ManualTime();
        using var service = Service.At(time);
        foreach (var name in (string[])["first", "second", "third"])
        {
            await service.CreateAsync($$"""{"name":"{{name}}","num_features":2}""");
            time.JumpBy(TimeSpan.FromSeconds(1));
        }
        var first = new SessionClient(service.Client, "first");
        (await first.TrainAsync("""{"x":[[1,2],[3,4]]}""")).Expect(200);
        var answer = (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        Assert.Equal(["third", "second", "first"], Names(answer));
        var listed = answer["sessions"][2];
        Assert.True(JsonElement.DeepEquals((await first.GetAsync()).Json, listed), listed.ToString());
        Assert.Equal(1, listed.GetProperty("num_batches_tracked").GetInt64());
    }

    /// <summary>One clock tick for all, so that nothing but the id orders them; and others come and go between the pages.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(50)]
    [InlineData(1000)]
    public async Task Pages_hold_every_session_once_whatever_happens_between_them(int limit)
    {
        var time = new ManualTime();
        using var service = Service.At(time);
        for (var i = 0; i < 50; i++) await service.CreateAsync($$"""{"name":"old-{{i}}","num_features":1}""");
        time.JumpBy(TimeSpan.FromMilliseconds(1));
        for (var i = 50; i < 60; i++) await service.CreateAsync($$"""{"name":"old-{{i}}","num_features":1}""");

        var seen = new List<string>();
        var cursor = "";
        for (var page = 0; ; page++)
        {
            var answer = (await service.Client.GetAsync($"/v1/sessions?limit={limit}&{cursor}")).Expect(200);
            var names = Names(answer);
            seen.AddRange(names);
            if (answer["next_cursor"].ValueKind == JsonValueKind.Null) break;
            Assert.Equal(limit, names.Length);
            cursor = $"cursor={Uri.EscapeDataString(answer["next_cursor"].GetString()!)}";
            // A newer one belongs on no later page, and the last one that was seen may go without taking the cursor with it.
            time.JumpBy(TimeSpan.FromMilliseconds(1));
            await service.CreateAsync($$"""{"name":"new-{{page}}","num_features":1}""");
            (await service.Client.DeleteAsync($"/v1/sessions/{names[^1]}")).Expect(204);
        }
        Assert.Equal(60, seen.Count);
        Assert.Distinct(seen);
        Assert.All(seen, name => Assert.StartsWith("old-", name, StringComparison.Ordinal));
        Assert.All(seen.Take(10), name => Assert.InRange(int.Parse(name[4..]), 50, 59));
    }

    [Fact]
    public async Task A_page_has_50_sessions_where_no_limit_is_given()
    {
        using var service = new Service();
        for (var i = 0; i < 51; i++) await service.CreateAsync("""{"num_features":1}""");
        var first = (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        Assert.Equal(50, Names(first).Length);
        var second = (await service.Client.GetAsync($"/v1/sessions?cursor={first["next_cursor"].GetString()}")).Expect(200);
        Assert.Single(Names(second));
        Assert.Equal(JsonValueKind.Null, second["next_cursor"].ValueKind);
        // Exactly full is not more.
        Assert.Equal(JsonValueKind.Null, (await service.Client.GetAsync("/v1/sessions?limit=51"))["next_cursor"].ValueKind);
    }

    [Fact]
    public async Task Prefix_and_kind_narrow_the_list()
    {
        using var service = new Service();
        foreach (var name in (string[])["a1", "b1", "a2", "A3"]) await service.CreateAsync($$"""{"name":"{{name}}","num_features":1}""");
        Assert.Equal(["a1", "a2"], Names(await service.Client.GetAsync("/v1/sessions?prefix=a")).Order());
        Assert.Equal(["A3"], Names(await service.Client.GetAsync("/v1/sessions?prefix=A3&kind=batch_norm")));
        Assert.Empty(Names(await service.Client.GetAsync("/v1/sessions?prefix=%25")));
        Assert.Equal(4, Names(await service.Client.GetAsync("/v1/sessions?prefix=&kind=batch_norm")).Length);
        var page = await service.Client.GetAsync("/v1/sessions?prefix=a&limit=1");
        Assert.Single(Names(page));
        Assert.Equal(["a1"], Names(await service.Client.GetAsync($"/v1/sessions?prefix=a&limit=1&cursor={page["next_cursor"].GetString()}")));
    }

    [Theory]
    [InlineData("limit=0", "limit must be a whole number from 1 to 1000, got '0'")]
    [InlineData("limit=1001", "limit must be a whole number from 1 to 1000, got '1001'")]
    [InlineData("limit=-1", "limit must be a whole number from 1 to 1000, got '-1'")]
    [InlineData("limit=", "limit must be")]
    [InlineData("limit=ten", "limit must be")]
    [InlineData("limit=1.5", "limit must be")]
    [InlineData("limit=99999999999999999999", "limit must be")]
    [InlineData("limit=1&limit=2", "limit must be")]
    [InlineData("cursor=", "cursor must be")]
    [InlineData("cursor=garbage", "cursor must be")]
    [InlineData("cursor=%ff", "cursor must be")]
    [InlineData("cursor=!!", "cursor must be")]
    [InlineData("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OS5h", "cursor must be")] // 9999999999999999999.a: no such instant
    [InlineData("cursor=LTEuYQ", "cursor must be")] // -1.a
    [InlineData("kind=", "kind must be one of batch_norm, batch_renorm, layer_norm, group_norm, instance_norm, rms_norm, got ''")]
    [InlineData("kind=linear", "kind must be one of")]
    [InlineData("kind=BatchNorm", "kind must be one of batch_norm")]
    public async Task What_cannot_be_listed_is_refused(string query, string detail)
    {
        using var service = new Service();
        (await service.Client.GetAsync($"/v1/sessions?{query}")).ExpectProblem("invalid-option", detail);
    }

    [Fact]
    public async Task A_cursor_of_a_time_before_all_sessions_leads_to_an_empty_page()
    {
        using var service = new Service();
        await service.CreateAsync("""{"num_features":1}""");
        Assert.Empty(Names((await service.Client.GetAsync("/v1/sessions?cursor=MC4w")).Expect(200))); // 0.0
    }

    private static string[] Names(Answer answer) => [.. answer["sessions"].EnumerateArray().Select(session => session.GetProperty("name").GetString()!)];
}
