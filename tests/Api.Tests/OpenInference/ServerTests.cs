using System.Text.Json;
using BnService.Api.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace BnService.Api.Tests.OpenInference;

public sealed class ServerTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("/v2")]
    [InlineData("/v2/")]
    [InlineData("/v2?verbose=1")]
    public async Task It_says_what_it_is(string path)
    {
        var server = (await service.Client.GetAsync(path)).Expect(200);
        Assert.Equal("bnservice", server["name"].GetString());
        Assert.Matches(@"^\d+\.\d+\.\d+", server["version"].GetString());
        Assert.Equal("""["binary_tensor_data","statistics","model_repository","model_configuration"]""", server["extensions"].GetRawText());
        Assert.Equal(3, server.Json.EnumerateObject().Count());
    }

    [Theory]
    [InlineData("/v2/health/live", """{"live":true}""")]
    [InlineData("/v2/health/ready", """{"ready":true}""")]
    [InlineData("/v2/health/ready?probe=kubelet", """{"ready":true}""")]
    public async Task It_is_alive_and_ready(string path, string body)
    {
        var answer = (await service.Client.GetAsync(path)).Expect(200);
        Assert.Equal(body, answer.Text);
        Assert.Equal("application/json", answer.Headers["Content-Type"]);
    }

    [Fact]
    public async Task It_is_not_ready_when_it_stops()
    {
        using var stopping = Service.Replacing(services => services.AddSingleton(new Readiness(new Stopping(), new WatchedStore())));
        var answer = (await stopping.Client.GetAsync("/v2/health/ready")).ExpectError(503, "stopping");
        Assert.Equal("1", answer.Headers["Retry-After"]);
        (await stopping.Client.GetAsync("/v2/health/live")).Expect(200);
    }

    [Theory]
    [InlineData("GET", "/v2/nosuch", 404)]
    [InlineData("GET", "/v2/models", 404)]
    [InlineData("GET", "/V2/Nosuch", 404)]
    [InlineData("POST", "/v2/repository/models/m/load", 404)]
    [InlineData("GET", "/v2/models/nosuch", 404)]
    [InlineData("GET", "/v2/models/nosuch/ready", 404)]
    [InlineData("GET", "/v2/models/nosuch/config", 404)]
    [InlineData("GET", "/v2/models/nosuch/stats", 404)]
    [InlineData("POST", "/v2/models/nosuch/infer", 404)]
    [InlineData("GET", "/v2/models/%C3%A9%2Fx/ready", 404)]
    [InlineData("GET", "/v2/models/m/infer", 405)]
    [InlineData("GET", "/v2/repository/index", 405)]
    [InlineData("POST", "/v2", 405)]
    [InlineData("DELETE", "/v2/models/m", 405)]
    public async Task Whatever_is_not_there_is_an_error_of_the_protocol(string method, string path, int status) =>
        (await service.Client.SendAsync(new HttpMethod(method), path, null)).ExpectError(status);

    [Fact]
    public async Task A_path_that_only_begins_like_it_is_none_of_the_protocol() =>
        (await service.Client.GetAsync("/v22/health/live")).ExpectProblem("not-found");

    /// <summary>A defect has the protocol's form as well, and keeps its inner life to itself.</summary>
    [Fact]
    public async Task A_defect_has_the_form_of_the_protocol()
    {
        var time = new BreakingTime();
        using var broken = Service.Replacing(services => services.AddSingleton<TimeProvider>(time));
        var name = await NameAsync(broken);
        time.IsBroken = true;
        var answer = await broken.Unchecked.PostAsync($"/v2/models/{name}/infer", "{}");
        Assert.Equal(500, answer.Status);
        Assert.Equal("application/json", answer.Headers["Content-Type"]);
        Assert.Equal(["error"], answer.Json.EnumerateObject().Select(member => member.Name));
        Assert.Matches("trace_id [0-9a-f]{32}$", answer["error"].GetString());
        Assert.DoesNotContain("secret", answer.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("""{"ready":true}""")]
    [InlineData("""{"ready":false,"repository_name":"a","more":[{"ready":[1]}]}""")]
    public async Task The_index_lists_every_session(string? body)
    {
        using var own = new Service();
        for (var i = 0; i < 3; i++) await own.CreateAsync($$"""{"name":"m{{i}}","num_features":2}""");
        using var content = body is null ? null : new StringContent(body);
        if (content is not null) content.Headers.ContentType = null;
        var answer = (await own.Client.SendAsync(HttpMethod.Post, "/v2/repository/index", content)).Expect(200);
        Assert.Equal("application/json", answer.Headers["Content-Type"]);
        Assert.Equal("[" + string.Join(',', ((string[])["m2", "m1", "m0"]).Select(name => $$"""{"name":"{{name}}","version":"","state":"READY","reason":""}""")) + "]", answer.Text);
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("{")]
    [InlineData("{}}")]
    [InlineData("""{"ready":1}""")]
    [InlineData("""{"ready":"true"}""")]
    [InlineData("""{"\ud800":1}""")]
    public async Task What_is_no_request_for_an_index_is_refused(string body) =>
        (await service.Client.PostAsync("/v2/repository/index", body)).ExpectError(400);

    [Fact]
    public async Task More_sessions_than_a_page_holds_are_all_listed()
    {
        using var own = new Service();
        for (var i = 0; i < 1001; i++) await own.CreateAsync($$"""{"name":"m{{i}}","num_features":1}""");
        var index = (await own.Client.PostAsync("/v2/repository/index", null)).Expect(200);
        Assert.Equal(1001, Names(index.Json).Distinct().Count());
        var statistics = (await own.Client.GetAsync("/v2/models/stats")).Expect(200);
        Assert.Equal(Names(index.Json), Names(statistics["model_stats"]));
    }

    [Fact]
    public async Task Without_sessions_there_is_nothing_to_list()
    {
        using var own = new Service();
        Assert.Equal("[]", (await own.Client.PostAsync("/v2/repository/index", null)).Expect(200).Text);
        Assert.Equal("""{"model_stats":[]}""", (await own.Client.GetAsync("/v2/models/stats")).Expect(200).Text);
    }

    private static IEnumerable<string> Names(JsonElement list) => list.EnumerateArray().Select(item => item.GetProperty("name").GetString()!);

    private static async Task<string> NameAsync(Service service) =>
        (await service.Unchecked.PostAsync("/v1/sessions", """{"num_features":2}""")).Expect(201).Name;

    private sealed class BreakingTime : TimeProvider
    {
        public bool IsBroken { get; set; }

        public override long GetTimestamp() => IsBroken ? throw new InvalidOperationException("secret") : base.GetTimestamp();
    }

    private sealed class Stopping : IHostApplicationLifetime
    {
        public CancellationToken ApplicationStarted => new(canceled: true);

        public CancellationToken ApplicationStopping => new(canceled: true);

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public void StopApplication() => throw new NotSupportedException();
    }
}
