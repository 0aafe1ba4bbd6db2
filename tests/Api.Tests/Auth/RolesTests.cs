using BnService.Api.Hosting.Auth;
using Microsoft.AspNetCore.Routing;

namespace BnService.Api.Tests.Auth;

/// <summary>Each role against each route, as the routes themselves say them: a new one is tried without anybody thinking of it.</summary>
public sealed class RolesTests
{
    private static readonly string[] RolesInOrder = ["reader", "trainer", "admin"];

    // Written out: what a route declares is not the measure of itself.
    private static readonly string[] OfReaders =
    [
        "GET /v1/sessions", "GET /v1/sessions/{session}", "GET /v1/sessions/{session}/diagnostics", "GET /v1/sessions/{session}/history",
        "GET /v1/sessions/{session}/events", "GET /v1/events",
        "GET /v1/sessions/{session}/snapshots", "GET /v1/sessions/{session}/snapshots/{version}", "GET /v1/sessions/{session}/state",
        "GET /v1/sessions/{session}/stats", "POST /v1/normalize", "POST /v1/sessions/{session}/fold", "POST /v1/sessions/{session}/inference",
        "GET /v2", "GET /v2/models/stats", "POST /v2/repository/index",
        "GET /v2/models/{session}", "GET /v2/models/{session}/config", "GET /v2/models/{session}/ready", "GET /v2/models/{session}/stats",
        "POST /v2/models/{session}/infer", "GET /v2/models/{session}/versions/{version}", "GET /v2/models/{session}/versions/{version}/config",
        "GET /v2/models/{session}/versions/{version}/ready", "GET /v2/models/{session}/versions/{version}/stats",
        "POST /v2/models/{session}/versions/{version}/infer", "GET /metrics", "GET /metrics/triton",
    ];

    private static readonly string[] Open =
        ["GET /health/live", "GET /health/ready", "GET /v2/health/live", "GET /v2/health/ready", "GET /openapi/v1.json", "GET /problems", "GET /problems/{code}",
            "GET /", "GET /icon.svg", "GET /assets/{file}"];

    [Fact]
    public async Task Each_role_reaches_what_it_may_and_nothing_else()
    {
        using var keyed = await KeyedService.StartAsync();
        var keys = new List<string>();
        foreach (var role in RolesInOrder) keys.Add(await keyed.KeyAsync(role));
        var routes = keyed.Service.Routes;
        Assert.True(routes.Count > 50, $"only {routes.Count} routes");
        foreach (var route in routes)
        {
            var (method, template) = (route.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods[0], $"/{route.RoutePattern.RawText!.Trim('/')}");
            var least = LeastOf(method, template);
            var path = template.Replace("{code}", "forbidden", StringComparison.Ordinal).Replace("{", "", StringComparison.Ordinal).Replace("}", "", StringComparison.Ordinal);
            var without = await SendAsync(keyed, method, path, []);
            Assert.True(least < 0 ? without.Status is not (401 or 403) : without.Status == 401, $"{method} {path} without a key: {without.Status}");
            for (var role = 0; role < keys.Count; role++)
            {
                var answer = await SendAsync(keyed, method, path, [KeyedService.Bearer(keys[role])]);
                Assert.True((answer.Status == 403) == (role < least), $"{method} {path} as {RolesInOrder[role]}: {answer.Status}");
                Assert.NotEqual(401, answer.Status);
            }
        }
    }

    [Fact]
    public void Every_route_says_who_may_call_it()
    {
        using var service = Service.With();
        Assert.All(service.Routes, route => Assert.True(route.Metadata.GetMetadata<Access>() is not null, $"{route.DisplayName} does not say which role it needs"));
    }

    [Fact]
    public void The_document_says_which_role_each_call_needs()
    {
        foreach (var operation in ApiDocument.CheckedIn.Operations)
        {
            var least = LeastOf(operation.Method, operation.Template);
            var responses = operation.Element.GetProperty("responses");
            Assert.True(responses.TryGetProperty("401", out _) == (least >= 0) && responses.TryGetProperty("403", out _) == (least >= 0), operation.Id);
            if (least < 0)
            {
                Assert.False(operation.Element.TryGetProperty("security", out _), operation.Id);
                continue;
            }
            var schemes = operation.Element.GetProperty("security").EnumerateArray().Select(requirement => requirement.EnumerateObject().Single()).ToList();
            Assert.Equal(["bearer", "apiKey"], schemes.Select(scheme => scheme.Name));
            Assert.All(schemes, scheme => Assert.Empty(scheme.Value.EnumerateArray()));
            Assert.EndsWith($" Needs the role `{RolesInOrder[least]}`.", operation.Element.GetProperty("description").GetString(), StringComparison.Ordinal);
        }
        var known = ApiDocument.CheckedIn.Root.GetProperty("components").GetProperty("securitySchemes");
        Assert.Equal(("http", "bearer"), (known.GetProperty("bearer").GetProperty("type").GetString(), known.GetProperty("bearer").GetProperty("scheme").GetString()));
        Assert.Equal(("apiKey", "header", "X-Api-Key"), (known.GetProperty("apiKey").GetProperty("type").GetString(),
            known.GetProperty("apiKey").GetProperty("in").GetString(), known.GetProperty("apiKey").GetProperty("name").GetString()));
    }

    [Fact]
    public async Task What_is_not_there_is_told_to_whoever_has_a_key_and_to_nobody_else()
    {
        using var keyed = await KeyedService.StartAsync();
        var reader = KeyedService.Bearer(await keyed.KeyAsync("reader"));
        foreach (var (method, path, status) in new[] { ("GET", "/v1/nosuch", 404), ("PUT", "/v1/sessions", 405), ("GET", "/nosuch", 404), ("GET", "/v2/nosuch", 404), ("DELETE", "/health/live", 405) })
        {
            (await SendAsync(keyed, method, path, [])).Expect(401);
            (await SendAsync(keyed, method, path, [reader])).Expect(status);
        }
    }

    [Theory]
    [InlineData("/swagger/index.html", 200)]
    [InlineData("/openapi/v1.json", 200)]
    [InlineData("/problems", 200)]
    [InlineData("/health/ready", 200)]
    [InlineData("/", 200)]
    public async Task Pages_and_probes_are_open(string path, int status)
    {
        using var keyed = await KeyedService.StartAsync();
        (await keyed.Client.GetAsync(path)).Expect(status);
        // A wrong key does not matter where none is needed.
        (await keyed.Client.GetAsync(path, KeyedService.Bearer("bn_nosuch_key"))).Expect(status);
    }

    [Theory]
    [InlineData("false", 401, 403)]
    [InlineData("true", 200, 200)]
    public async Task Metrics_are_open_where_that_is_wanted(string open, int withoutKey, int withPrefix)
    {
        using var keyed = await KeyedService.StartAsync(("Auth:OpenMetrics", open));
        (await keyed.Client.GetAsync("/metrics")).Expect(withoutKey);
        (await keyed.Client.GetAsync("/metrics", KeyedService.Bearer(await keyed.KeyAsync("reader")))).Expect(200);
        // They tell of all sessions.
        (await keyed.Client.GetAsync("/metrics", KeyedService.Bearer(await keyed.KeyAsync("trainer", "team-")))).Expect(withPrefix);
    }

    [Fact]
    public async Task Nobody_is_asked_for_a_key_where_the_mode_is_none()
    {
        using var service = Service.With(("Auth:Mode", "none"));
        await KeyedService.CreateAsync(service.Client, "admin", null, null);
        await service.CreateAsync("""{"name":"team-a","num_features":2}""");
        (await service.Client.GetAsync("/v1/keys", KeyedService.Bearer("bn_nosuch_key"))).Expect(200);
    }

    // -1 where no key is needed.
    private static int LeastOf(string method, string template)
    {
        var route = $"{method} {template}";
        if (Open.Contains(route)) return -1;
        if (OfReaders.Contains(route)) return 0;
        return template.StartsWith("/v1/keys", StringComparison.Ordinal) ? 2 : 1;
    }

    // Events are refused in any other form, which is decided once it is known who asks: they would not end.
    private static Task<Answer> SendAsync(KeyedService keyed, string method, string path, (string Name, string Value)[] headers) =>
        keyed.Client.SendAsync(new HttpMethod(method), path, method is "GET" or "DELETE" ? null : ServiceClient.JsonContent("{}"),
            path.EndsWith("/events", StringComparison.Ordinal) ? [.. headers, ("Accept", "application/json")] : headers);
}
