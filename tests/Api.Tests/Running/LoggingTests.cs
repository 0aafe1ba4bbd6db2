using System.Text.Json;
using System.Text.RegularExpressions;

namespace BnService.Api.Tests.Running;

/// <summary>What the process writes: one event for each request, as JSON in a container, as text on a terminal.</summary>
public sealed partial class LoggingTests
{
    private const string X = """{"x":[[1,2],[3,4]]}""";

    [Fact]
    public async Task In_a_container_every_line_is_JSON_and_every_request_one_event_with_what_it_was()
    {
        using var service = await ServiceProcess.StartAsync(("DOTNET_RUNNING_IN_CONTAINER", "true"), ("Limits__MaxBodyBytes", "1024"));
        var expected = new List<(string Method, string Path, string? Session, Answer Answer, int RequestBytes)>();

        async Task SendAsync(string method, string path, string template, string? session, string? body, int? read = null, string? type = "application/json")
        {
            using var content = body is null ? null : new StringContent(body);
            if (content is not null) content.Headers.ContentType = type is null ? null : new(type);
            var answer = await service.Client.SendAsync(new HttpMethod(method), path, content);
            expected.Add((method, template, session, answer, read ?? body?.Length ?? 0));
        }

        await SendAsync("POST", "/v1/sessions", "/v1/sessions", null, """{"name":"logged","num_features":2}""");
        await SendAsync("POST", "/v1/sessions", "/v1/sessions", null, """{"name":"logged","num_features":2}""");
        await SendAsync("GET", "/v1/sessions?limit=3", "/v1/sessions", null, null);
        await SendAsync("POST", "/v1/sessions/logged/train-step", "/v1/sessions/{session}/train-step", "logged", X);
        await SendAsync("POST", "/v1/sessions/logged/train-step", "/v1/sessions/{session}/train-step", "logged", X[..9]);
        await SendAsync("POST", "/v1/sessions/logged/train-step", "/v1/sessions/{session}/train-step", "logged", X.PadRight(2000), read: 0);
        await SendAsync("POST", "/v1/sessions/logged/inference", "/v1/sessions/{session}/inference", "logged", """{"x":[[1,2,3]]}""");
        await SendAsync("POST", "/v1/sessions/logged/backward", "/v1/sessions/{session}/backward", "logged", """{"step_id":"a","dy":[[1,2]]}""");
        await SendAsync("GET", "/v1/sessions/nosuch/stats", "/v1/sessions/{session}/stats", "nosuch", null);
        await SendAsync("PATCH", "/v1/sessions/logged", "/v1/sessions/{session}", "logged", """{"labels":{"a":"é"}}""", read: 21);
        await SendAsync("DELETE", "/v1/sessions/logged", "/v1/sessions/{session}", "logged", null);
        await SendAsync("GET", "/health/ready", "/health/ready", null, null);
        await SendAsync("GET", "/problems/malformed-body", "/problems/{code}", null, null);

        await Eventually.EqualAsync(expected.Count, () => Requests(service).Count);
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        var events = Requests(service);
        Assert.Equal(expected.Count, events.Count);
        foreach (var ((method, path, session, answer, requestBytes), properties) in expected.Zip(events))
        {
            var what = $"{method} {path}: {properties}";
            Assert.True(method == properties.GetProperty("Method").GetString(), what);
            Assert.True(path == properties.GetProperty("Path").GetString(), what);
            Assert.True(session == (properties.TryGetProperty("Session", out var name) ? name.GetString() : null), what);
            Assert.True(answer.Status == properties.GetProperty("Status").GetInt32(), what);
            Assert.True(requestBytes == properties.GetProperty("RequestBytes").GetInt64(), what);
            Assert.True(answer.Body.Length == properties.GetProperty("AnswerBytes").GetInt64(), $"{answer.Body.Length} bytes came, {what}");
            Assert.True(properties.GetProperty("ElapsedMilliseconds").GetDouble() >= 0, what);
        }
        Assert.All(service.Output, line => Assert.True(IsEvent(line), $"not an event: {line}"));
        Assert.Equal("", service.Errors);
    }

    [Fact]
    public async Task Requests_that_find_no_route_are_events_as_well()
    {
        using var service = await ServiceProcess.StartAsync(("DOTNET_RUNNING_IN_CONTAINER", "true"));
        (await service.Client.GetAsync("/v1/nosuch")).Expect(404);
        (await service.Client.PutAsync("/v1/sessions", "{}")).Expect(405);
        (await service.Client.SendAsync(HttpMethod.Post, "/v1/sessions", new StringContent("a"))).Expect(415);
        await Eventually.EqualAsync(3, () => Requests(service).Count);
        Assert.Equal([404, 405, 415], Requests(service).Select(properties => properties.GetProperty("Status").GetInt32()));
    }

    /// <summary>A client that goes away is no defect of the service: one event, status 499, no error.</summary>
    [Fact]
    public async Task A_client_that_hangs_up_is_one_event_and_no_error()
    {
        using var service = await ServiceProcess.StartAsync(("DOTNET_RUNNING_IN_CONTAINER", "true"));
        var session = await service.Client.CreateAsync("""{"name":"logged","num_features":2}""");
        for (var i = 0; i < 5; i++)
        {
            using var connection = await service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/train-step",
                ("Content-Type", "application/json"), ("Content-Length", "1000"), ("Expect", "100-continue"));
            await connection.ReadUntilAsync("100 Continue");
            connection.Abort();
        }
        await Eventually.EqualAsync(6, () => Requests(service).Count);
        Assert.All(Requests(service).Skip(1), properties => Assert.Equal(499, properties.GetProperty("Status").GetInt32()));
        // Kestrel itself may complain that it could not skip the rest of a body that does not come.
        Assert.DoesNotContain(service.Output, line =>
            line.Contains("\"Level\":\"Error\"", StringComparison.Ordinal)
            && !line.Contains("RequestBodyDrainBodyReaderInvalidState", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Elsewhere_every_request_is_one_readable_line()
    {
        using var service = await ServiceProcess.StartAsync();
        var session = await service.Client.CreateAsync("""{"name":"logged","num_features":2}""");
        var answer = (await session.TrainAsync(X)).Expect(200);
        await Eventually.EqualAsync(1, () => service.Output.Count(line => TextEvent().IsMatch(line)));
        var match = service.Output.Select(line => TextEvent().Match(line)).Single(found => found.Success);
        Assert.Equal($"{X.Length}", match.Groups[1].Value);
        Assert.Equal($"{answer.Body.Length}", match.Groups[2].Value);
        Assert.DoesNotContain(service.Output, line => line.StartsWith('{'));
    }

    [Theory]
    [InlineData("json", "false", true)]
    [InlineData("text", "true", false)]
    public async Task The_format_can_be_chosen(string format, string inContainer, bool isJson)
    {
        using var service = await ServiceProcess.StartAsync(("Telemetry__LogFormat", format), ("DOTNET_RUNNING_IN_CONTAINER", inContainer));
        (await service.Client.GetAsync("/health/live")).Expect(200);
        await Eventually.TrueAsync(() => service.Output.Any(line => line.Contains("/health/live", StringComparison.Ordinal)), "the request is not logged");
        Assert.All(service.Output, line => Assert.Equal(isJson, IsEvent(line)));
    }

    [Fact]
    public async Task The_section_Serilog_adds_sinks_as_everywhere_and_the_end_waits_for_what_was_logged()
    {
        var folder = Directory.CreateTempSubdirectory("bn-log").FullName;
        var file = Path.Combine(folder, "events.log");
        using (var service = await ServiceProcess.StartAsync(("Serilog__WriteTo__0__Name", "File"), ("Serilog__WriteTo__0__Args__path", file)))
        {
            (await service.Client.GetAsync("/health/live")).Expect(200);
            service.Terminate();
            Assert.Equal(0, await service.ExitAsync());
            Assert.Single(service.Output, IsOfLive);
        }
        Assert.Single(await File.ReadAllLinesAsync(file), IsOfLive);
        Directory.Delete(folder, recursive: true);

        static bool IsOfLive(string line) => line.Contains("GET /health/live session", StringComparison.Ordinal);
    }

    private static List<JsonElement> Requests(ServiceProcess service)
    {
        var requests = new List<JsonElement>();
        foreach (var line in service.Output)
        {
            using var json = JsonDocument.Parse(line);
            var properties = json.RootElement.GetProperty("Properties");
            if (properties.GetProperty("SourceContext").GetString() == "BnService.Request") requests.Add(properties.Clone());
        }
        return requests;
    }

    private static bool IsEvent(string line)
    {
        if (!line.StartsWith('{')) return false;
        using var json = JsonDocument.Parse(line);
        var fields = json.RootElement.EnumerateObject().Select(field => field.Name).ToList();
        return fields.Contains("Timestamp") && fields.Contains("Level") && fields.Contains("RenderedMessage");
    }

    [GeneratedRegex(@"^\d\d:\d\d:\d\d\.\d{3} INF POST /v1/sessions/\{session\}/train-step session logged answered 200 " +
        @"in \d+\.\d ms, (\d+) bytes in, (\d+) bytes out trace [0-9a-f]{32}$")]
    private static partial Regex TextEvent();
}
