namespace BnService.Api.Tests.Auth;

/// <summary>What a page of another origin makes a browser send, which needs no key where the service has none, and no leave where it has no body.</summary>
public sealed class ForeignPageTests
{
    private const string X = """{"x":[[1,2],[3,5]],"retain":false}""";

    public static TheoryData<string, string> Foreign => new()
    {
        { "cross-site", "https://evil.example" }, { "same-site", "http://localhost:3000" }, { "cross-site", "" }, { "same-site", "" }, { "cross-site", "null" }, { "", "null" },
        { "", "https://evil.example" }, { "", "http://localhost:3000" }, { "", "http://localhost.evil.example" }, { "", "file://" }, { "none", "https://evil.example" },
        { "cross-site", "http://localhost" }, { "same-origin, cross-site", "" }, { "other", "" }, { "", "http://localhost@evil.example" },
    };

    public static TheoryData<string, string> Own => new()
    {
        { "", "" }, { "same-origin", "http://localhost" }, { "same-origin", "https://bn.example.org" }, { "none", "" }, { "", "http://localhost" }, { "", "http://LOCALHOST:80" },
        { "", "https://localhost" },
    };

    [Theory]
    [MemberData(nameof(Foreign))]
    public async Task A_page_of_another_origin_changes_nothing(string site, string origin)
    {
        using var service = Service.With();
        var session = await service.CreateAsync("""{"name":"a","num_features":2}""");
        (await session.TrainAsync(X)).Expect(200);
        (await service.Client.PostAsync("/v1/sessions/a/snapshots", null)).Expect(201);
        var before = (await service.Client.GetAsync("/v1/sessions/a/state")).Expect(200).Text;
        var headers = Headers(site, origin);
        var calls = 0;
        foreach (var operation in ApiDocument.CheckedIn.Operations.Where(operation => operation.Method != "GET"))
        {
            var path = operation.Template.Replace("{session}", "a", StringComparison.Ordinal).Replace("{version}", "2", StringComparison.Ordinal);
            // Without a body, and with one of a form that a page needs no leave for.
            foreach (var content in (HttpContent?[])[null, ServiceClient.Content("text/plain", [.. "{}"u8])])
            {
                var answer = await service.Client.SendAsync(new HttpMethod(operation.Method), path, content, headers);
                if (path.StartsWith("/v2", StringComparison.Ordinal)) Assert.Contains("Cors:Origins", answer.Expect(403)["error"].GetString(), StringComparison.Ordinal);
                else answer.ExpectProblem("foreign-origin", "Cors:Origins");
                calls++;
            }
        }
        Assert.True(calls > 50, $"{calls} calls");
        (await service.Client.SendAsync(new HttpMethod("POST"), "/nosuch", null, headers)).ExpectProblem("foreign-origin");
        Assert.Equal(before, (await service.Client.GetAsync("/v1/sessions/a/state")).Expect(200).Text);
        Assert.Single((await service.Client.GetAsync("/v1/sessions/a/snapshots")).Expect(200)["snapshots"].EnumerateArray());
        // What only reads is answered; whether the page may look at it, CORS decides.
        (await service.Client.GetAsync("/v1/sessions", headers)).Expect(200);
        (await service.Client.GetAsync("/", headers)).Expect(200);
    }

    [Theory]
    [MemberData(nameof(Own))]
    public async Task The_services_own_page_and_programs_go_on(string site, string origin)
    {
        using var service = Service.With();
        await service.CreateAsync("""{"name":"a","num_features":2}""");
        (await service.Client.PostAsync("/v1/sessions/a/train-step", X, Headers(site, origin))).Expect(200);
        (await service.Client.PostAsync("/v1/sessions/a/reset", null, Headers(site, origin))).Expect(200);
    }

    /// <summary>TLS has ended in front of the service, and the browser's name of it may be in another header.</summary>
    [Fact]
    public async Task The_services_own_page_goes_on_behind_a_proxy()
    {
        using var keyed = await KeyedService.StartAsync();
        var admin = KeyedService.Bearer(keyed.Admin);
        const string Body = """{"num_features":2}""";
        (await keyed.Client.PostAsync("/v1/sessions", Body, admin, ("Host", "bn.example.org"), ("Origin", "https://bn.example.org"))).Expect(201);
        (await keyed.Client.PostAsync("/v1/sessions", Body, admin, ("Host", "bn.example.org:8443"), ("Origin", "https://bn.example.org:8443"))).Expect(201);
        (await keyed.Client.PostAsync("/v1/sessions", Body, admin, ("Host", "node-1:8080"), ("X-Forwarded-Host", "bn.example.org"), ("Origin", "https://bn.example.org"))).Expect(201);
        (await keyed.Client.PostAsync("/v1/sessions", Body, admin, ("Host", "node-1:8080"), ("X-Forwarded-Host", "x, bn.example.org"), ("Origin", "https://bn.example.org"))).Expect(201);
        // A key changes nothing for a page that is somebody else's.
        (await keyed.Client.PostAsync("/v1/sessions", Body, admin, ("Host", "node-1:8080"), ("Origin", "https://bn.example.org"))).ExpectProblem("foreign-origin", "https://bn.example.org");
        (await keyed.Client.PostAsync("/v1/sessions", Body, admin, ("Host", "bn.example.org"), ("Origin", "https://bn.example.org"), ("Sec-Fetch-Site", "cross-site"))).ExpectProblem("foreign-origin");
    }

    [Fact]
    public async Task An_origin_that_CORS_names_may_change_what_it_has_a_key_for()
    {
        using var named = Service.With(("Cors:Origins:0", "https://page.example.org"));
        foreach (var site in (string[])["cross-site", "same-site", ""])
        {
            (await named.Client.PostAsync("/v1/sessions", """{"num_features":2}""", Headers(site, "https://page.example.org"))).Expect(201);
            foreach (var other in (string[])["https://page.example.com", "http://page.example.org", "null"])
                (await named.Client.PostAsync("/v1/sessions", """{"num_features":2}""", Headers(site, other))).ExpectProblem("foreign-origin", other);
        }
        using var all = Service.With(("Cors:Origins:0", "*"));
        foreach (var (site, origin) in new[] { ("cross-site", "https://any.example"), ("cross-site", "null"), ("", "https://any.example"), ("cross-site", "") })
            (await all.Client.PostAsync("/v1/sessions", """{"num_features":2}""", Headers(site, origin))).Expect(201);
    }

    private static (string, string)[] Headers(string site, string origin) =>
        [.. new[] { ("Sec-Fetch-Site", site), ("Origin", origin) }.Where(header => header.Item2.Length > 0)];
}
