namespace BnService.Api.Tests.Auth;

/// <summary>Requests for another host: what a page sends whose name has been made to lead here (DNS rebinding).</summary>
public sealed class ForeignHostTests
{
    private const string FirstKey = """{"name":"first","role":"admin","i_will_keep_the_key":true}""";

    public static TheoryData<string> OwnNames => new(
        "localhost", "LOCALHOST", "localhost:5000", "localhost.", "localhost.:5000", "bn.localhost", "127.0.0.1", "127.0.0.1:80", "127.1.2.3", "[::1]", "[::1]:5000",
        "[::ffff:127.0.0.1]");

    public static TheoryData<string> OtherNames => new(
        "evil.example.org", "evil.example.org:5000", "localhost.example.org", "notlocalhost", "localhost..", "10.0.0.1", "0.0.0.0", "128.0.0.1", "[::2]", "[::ffff:10.0.0.1]", "bn",
        "127.0.0.1.example.org", "");

    [Theory]
    [MemberData(nameof(OtherNames))]
    public async Task Without_a_key_another_name_is_refused_with_421_and_makes_no_key(string host)
    {
        using var service = Service.OnKestrel();
        foreach (var (method, path, body) in new[]
        {
            ("GET", "/v1/sessions", ""), ("POST", "/v1/keys", FirstKey), ("POST", "/v1/sessions", """{"name":"a","num_features":2}"""), ("GET", "/", ""),
            ("GET", "/swagger/index.html", ""), ("GET", "/metrics", ""), ("GET", "/nosuch", ""), ("DELETE", "/v1/sessions", ""), ("GET", "/v2/models/a", ""), ("GET", "/healthy", ""),
        })
        {
            var answer = await SendAsync(service, $"{method} {path}", host, body);
            Assert.True(answer.StartsWith("HTTP/1.1 421 ", StringComparison.Ordinal), $"{method} {path} of {host}: {answer}");
            if (!path.StartsWith("/v2", StringComparison.Ordinal)) Assert.Contains("\"code\":\"misdirected-request\"", answer, StringComparison.Ordinal);
            Assert.Contains("AllowedHosts", answer, StringComparison.Ordinal);
        }
        // An orchestrator's probe names the address of a container.
        foreach (var path in (string[])["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"])
            Assert.StartsWith("HTTP/1.1 200 ", await SendAsync(service, $"GET {path}", host), StringComparison.Ordinal);
        Assert.Empty((await service.Client.GetAsync("/v1/keys")).Expect(200)["keys"].EnumerateArray());
        Assert.Empty((await service.Client.GetAsync("/v1/sessions")).Expect(200)["sessions"].EnumerateArray());
    }

    [Theory]
    [MemberData(nameof(OwnNames))]
    public async Task Without_a_key_it_answers_to_the_names_of_this_machine(string host)
    {
        using var service = Service.OnKestrel();
        Assert.StartsWith("HTTP/1.1 200 ", await SendAsync(service, "GET /v1/sessions", host), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 201 ", await SendAsync(service, "POST /v1/keys", host, FirstKey), StringComparison.Ordinal);
    }

    /// <summary>What stands beside Host decides nothing, and what contradicts it is no HTTP.</summary>
    [Fact]
    public async Task No_other_part_of_a_request_names_the_host()
    {
        using var service = Service.OnKestrel();
        async Task<string> RawAsync(string request)
        {
            using var connection = await service.ConnectAsync();
            await connection.WriteAsync(request);
            return await connection.ReadToEndAsync();
        }
        Assert.StartsWith("HTTP/1.1 421 ", await RawAsync("GET /v1/sessions HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 421 ", await RawAsync("GET http://evil.example/v1/sessions HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400 ", await RawAsync("GET http://localhost/v1/sessions HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400 ", await RawAsync("GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400 ", await RawAsync("GET /v1/sessions HTTP/1.1\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 421 ", await RawAsync("GET /v1/sessions HTTP/1.0\r\n\r\n"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("bn.example.org;*.example.com", "bn.example.org BN.example.org:8080 bn.example.org. a.example.com a.b.example.com", "localhost example.com example.org evil.example")]
    [InlineData("*", "localhost evil.example", "")]
    [InlineData("[::1];10.0.0.1", "[::1]:5000 10.0.0.1", "localhost 127.0.0.1")]
    public async Task AllowedHosts_decides_where_it_is_set_with_keys_and_without(string allowed, string answered, string refused)
    {
        using var open = Service.With(("AllowedHosts", allowed));
        using var keyed = Service.With(("AllowedHosts", allowed), ("Auth:AdminKey", "bn_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        foreach (var host in answered.Split(' '))
        {
            (await open.Client.GetAsync("/v1/sessions", ("Host", host))).Expect(200);
            (await keyed.Client.GetAsync("/v1/sessions", ("Host", host))).ExpectProblem("unauthorized");
        }
        foreach (var host in refused.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            (await open.Client.GetAsync("/v1/sessions", ("Host", host))).ExpectProblem("misdirected-request", host, "AllowedHosts");
            (await keyed.Client.GetAsync("/v1/sessions", ("Host", host))).ExpectProblem("misdirected-request", host);
            (await keyed.Client.GetAsync("/health/ready", ("Host", host))).Expect(200);
        }
    }

    [Fact]
    public async Task With_keys_it_answers_to_any_name()
    {
        using var keyed = await KeyedService.StartAsync();
        (await keyed.Client.GetAsync("/v1/sessions", ("Host", "bn.example.org"), KeyedService.Bearer(keyed.Admin))).Expect(200);
    }

    /// <summary>Where nobody is asked for a key a name with a dot may be anybody's; addresses, and names of a network of containers, are not.</summary>
    [Fact]
    public async Task With_keys_switched_off_it_answers_to_addresses_and_short_names()
    {
        using var service = Service.With(("Auth:Mode", "none"));
        foreach (var host in (string[])["bn", "bn:8080", "10.1.2.3:8080", "[fd00::1]:8080", "localhost", "a.localhost"])
            (await service.Client.GetAsync("/v1/sessions", ("Host", host))).Expect(200);
        foreach (var host in (string[])["evil.example", "10.1.2.3.evil.example"])
            (await service.Client.GetAsync("/v1/sessions", ("Host", host))).ExpectProblem("misdirected-request", host, "AllowedHosts");
        using var named = Service.With(("Auth:Mode", "none"), ("AllowedHosts", "bn.example.org"));
        (await named.Client.GetAsync("/v1/sessions", ("Host", "bn.example.org"))).Expect(200);
    }

    [Theory]
    [InlineData("https://bn.example.org")]
    [InlineData("bn.example.org;localhost:5000")]
    [InlineData("*:5000")]
    [InlineData("a b")]
    [InlineData("::1")]
    public async Task An_AllowedHosts_that_no_request_could_be_for_ends_the_start(string allowed)
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync(["--Storage:Engine", "memory", "--Urls", "http://127.0.0.1:0", "--AllowedHosts", allowed]);
        Assert.Equal(1, exitCode);
        Assert.Contains("configuration: AllowedHosts must be names as example.org", errors, StringComparison.Ordinal);
    }

    private static async Task<string> SendAsync(Service service, string call, string host, string body = "")
    {
        using var connection = await service.ConnectAsync();
        await connection.WriteAsync($"{call} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n{body}");
        return await connection.ReadToEndAsync();
    }
}
