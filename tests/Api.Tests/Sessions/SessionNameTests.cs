namespace BnService.Api.Tests.Sessions;

public sealed class SessionNameTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string> Refused => new(
        "", ".", "..", "-a", "_a", ".a", "../x", "a/b", "a%2fb", "a b", " a", "a ", "a\\\\b", "a\\u0000", "a\\n", "ä", "名前", "a\\u202eb", "٣", "a?b",
        "a#b", "a:b", "a*", "'", new string('a', 129), new string('a', 300));

    public static TheoryData<string> Allowed => new("a", "A", "0", "a.b", "a..b", "a_b-c.d", "v1", "sessions", "a-", "null", new string('a', 128));

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task A_name_that_is_none_is_refused(string name)
    {
        var answer = await service.Client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":1}""");
        answer.ExpectProblem("invalid-option", "name must be 1 to 128 letters, digits, '.', '_' or '-'");
    }

    [Theory]
    [MemberData(nameof(Allowed))]
    public async Task A_name_within_the_rules_addresses_its_session(string name)
    {
        var created = (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":1}""")).Expect(201);
        Assert.Equal(name, created.Name);
        var byName = (await service.Client.GetAsync(created.Headers["Location"])).Expect(200);
        var byId = (await service.Client.GetAsync($"/v1/sessions/{created["id"].GetString()}")).Expect(200);
        Assert.Equal(byName.Text, byId.Text);
    }

    [Fact]
    public async Task A_name_belongs_to_one_session_only()
    {
        var first = (await service.Client.PostAsync("/v1/sessions", """{"name":"taken","num_features":1}""")).Expect(201);
        var second = await service.Client.PostAsync("/v1/sessions", """{"name":"taken","num_features":2}""");
        second.ExpectProblem("session-exists", "name 'taken' is taken");
        Assert.Equal(first.Text, (await service.Client.GetAsync("/v1/sessions/taken")).Text);
    }

    [Fact]
    public async Task Names_differ_by_case()
    {
        await service.CreateAsync("""{"name":"case","num_features":1}""");
        await service.CreateAsync("""{"name":"CASE","num_features":2}""");
        Assert.Equal(1, (await service.Client.GetAsync("/v1/sessions/case"))["num_features"].GetInt32());
        Assert.Equal(2, (await service.Client.GetAsync("/v1/sessions/CASE"))["num_features"].GetInt32());
    }

    [Fact]
    public async Task The_id_of_a_session_is_no_name_for_another()
    {
        var named = (await service.Client.PostAsync("/v1/sessions", """{"name":"has-an-id","num_features":1}""")).Expect(201);
        var id = named["id"].GetString();
        (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"{{id}}","num_features":2}"""))
            .ExpectProblem("session-exists", $"name '{id}' is taken");
        Assert.Equal(named.Text, (await service.Client.GetAsync($"/v1/sessions/{id}")).Text);
    }

    [Theory]
    [InlineData("nosuch")]
    [InlineData("-a")]
    [InlineData("a%2fb")]
    [InlineData("%2e%2e%2fx")]
    [InlineData("%E5%90%8D")]
    [InlineData("%ff")]
    [InlineData("00000000000000000000000000000000")]
    public async Task A_session_that_does_not_exist_is_not_found_by_any_call(string name)
    {
        var session = new SessionClient(service.Client, name);
        const string x = """{"x":[[1],[2]]}""";
        foreach (var call in (Func<Task<Answer>>[])[session.GetAsync, session.StatsAsync, () => session.DeleteAsync(), () => session.PatchAsync("{}"),
            () => session.ResetAsync(null), () => session.TrainAsync(x), () => session.InferAsync(x),
            () => session.BackwardAsync("""{"x":[[1],[2]],"dy":[[1],[2]]}"""),
            () => session.PutParametersAsync("""{"gamma":[1]}"""), () => session.PutRunningStatsAsync("""{"running_mean":[1]}""")])
        {
            (await call()).ExpectProblem("session-not-found", "there is no session '");
        }
    }

    [Fact]
    public async Task A_name_too_long_for_any_session_is_cut_short_in_the_answer()
    {
        var answer = (await service.Client.GetAsync($"/v1/sessions/{new string('a', 3000)}")).ExpectProblem("session-not-found");
        Assert.InRange(answer.Detail.Length, 1, 200);
    }
}
