using System.Net.Http.Headers;
using System.Text;

namespace BnService.Api.Tests.Problems;

public sealed class MediaTypeTests(Service service) : IClassFixture<Service>
{
    private static readonly Dictionary<string, (string Method, string Path, string? Body)> Calls = new()
    {
        ["create"] = ("POST", "/v1/sessions", """{"num_features":2}"""),
        ["list"] = ("GET", "/v1/sessions", null),
        ["get"] = ("GET", "/v1/sessions/{0}", null),
        ["patch"] = ("PATCH", "/v1/sessions/{0}", """{"eps":0.5}"""),
        ["delete"] = ("DELETE", "/v1/sessions/{0}", null),
        ["reset"] = ("POST", "/v1/sessions/{0}/reset", """{"parameters":true}"""),
        ["train-step"] = ("POST", "/v1/sessions/{0}/train-step", """{"x":[[1,2],[3,4]]}"""),
        ["inference"] = ("POST", "/v1/sessions/{0}/inference", """{"x":[[1,2],[3,4]]}"""),
        ["backward"] = ("POST", "/v1/sessions/{0}/backward", """{"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"update":{"optimizer":"sgd"}}"""),
        ["stats"] = ("GET", "/v1/sessions/{0}/stats", null),
        ["parameters"] = ("PUT", "/v1/sessions/{0}/parameters", """{"gamma":[1,2]}"""),
        ["running-stats"] = ("PUT", "/v1/sessions/{0}/running-stats", """{"running_mean":[1,2]}"""),
    };

    private static readonly string[] OtherTypes =
    [
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/octet-stream", "application/xml",
        "application/jsonp", "application/*", "*/*", "garbage", "application/x-npy", "application/x-safetensors",
    ];

    private static readonly string[] OtherAnswers =
    [
        "text/html", "application/xml", "application/json;q=0", "application/json;q=0, */*", "text/*", "image/png, text/html;q=0.5",
        "garbage", "application/x-npy", "application/x-safetensors",
    ];

    private static string[] Forms(string call) => call is "train-step" or "inference" or "backward"
        ? ["application/json", "application/x-safetensors", "application/x-npy"]
        : ["application/json"];

    public static TheoryData<string> CallsWithAnswer => new(Calls.Keys.Except(["delete"]));

    public static TheoryData<string> CallsWithBody => new(Calls.Where(call => call.Value.Body is not null).Select(call => call.Key));

    [Theory]
    [MemberData(nameof(CallsWithBody))]
    public async Task A_body_in_another_form_is_refused_with_the_forms_that_are_read(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        foreach (var type in OtherTypes.Where(type => !Forms(call).Contains(type)))
        {
            var answer = await session.RefusedAsync(s => SendAsync(call, s, type, null));
            answer.ExpectProblem("unsupported-media-type",
                $"Content-Type must be one of {string.Join(", ", Forms(call))}, got '{type}'");
        }
    }

    [Theory]
    [InlineData("application/json")]
    [InlineData("application/json; charset=utf-8")]
    [InlineData("APPLICATION/JSON")]
    public async Task JSON_is_read_however_its_name_is_written(string type)
    {
        foreach (var call in Calls.Where(call => call.Value.Body is not null).Select(call => call.Key))
        {
            var session = await service.CreateAsync("""{"num_features":2}""");
            Assert.True((await SendAsync(call, session, type, null)).Status is 200 or 201, call);
        }
    }

    [Theory]
    [MemberData(nameof(CallsWithBody))]
    public async Task A_body_that_does_not_say_what_it_is_is_read_as_JSON_or_refused_with_the_forms_that_are_read(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        Assert.True((await SendAsync(call, session, null, null)).Status is 200 or 201, call);
        foreach (var other in (byte[][])["x=1"u8.ToArray(), [0x93, .. "NUMPY"u8], [40, 0, 0, 0, 0, 0, 0, 0, .. "{}"u8]])
        {
            (await session.RefusedAsync(s => SendAsync(call, s, null, null, other)))
                .ExpectProblem("unsupported-media-type", $"Content-Type is missing and the body is not JSON; it must be one of {string.Join(", ", Forms(call))}");
        }
        (await session.RefusedAsync(s => SendAsync(call, s, null, null, "{\""u8.ToArray()))).ExpectProblem("malformed-body");
    }

    [Theory]
    [InlineData("application/problem+json")]
    [InlineData("text/html")]
    [InlineData("application/json;q=0")]
    [InlineData("garbage")]
    public async Task An_answer_without_a_body_comes_whatever_the_client_accepts(string accept)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.DropCalibrationAsync(("Accept", accept))).Expect(204);
        var version = (await session.SnapshotAsync()).Expect(201).Version;
        (await service.Client.DeleteAsync($"{session.Path}/snapshots/{version}", ("Accept", accept))).Expect(204);
        (await session.DeleteAsync(("Accept", accept))).Expect(204);
        (await session.GetAsync()).ExpectProblem("session-not-found");
        (await session.DeleteAsync(("Accept", accept))).ExpectProblem("session-not-found");
    }

    [Theory]
    [MemberData(nameof(CallsWithAnswer))]
    public async Task An_answer_that_the_client_does_not_accept_is_refused_with_the_forms_that_there_are(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        foreach (var accept in OtherAnswers.Where(accept => !Forms(call).Any(form => form != "application/json" && (accept == form || accept.Contains(", */*")))))
        {
            var answer = await session.RefusedAsync(s => SendAsync(call, s, "application/json", accept));
            answer.ExpectProblem("not-acceptable", $"Accept must allow one of {string.Join(", ", Forms(call))}, got '");
        }
    }

    [Theory]
    [InlineData("application/json")]
    [InlineData("*/*")]
    [InlineData("application/*")]
    [InlineData("text/html, application/json;q=0.1")]
    [InlineData("text/html, */*;q=0.001")]
    [InlineData("application/json; charset=utf-8")]
    [InlineData("APPLICATION/JSON")]
    [InlineData("text/html;q=0, application/json")]
    public async Task A_client_that_accepts_JSON_gets_it(string accept)
    {
        foreach (var call in Calls.Keys)
        {
            var session = await service.CreateAsync("""{"num_features":2}""");
            var answer = await SendAsync(call, session, "application/json", accept);
            Assert.True(answer.Status is >= 200 and < 300, $"{call}: {answer.Text}");
            Assert.Equal(call == "delete" ? null : "application/json", answer.ContentType);
        }
    }

    [Theory]
    [InlineData("PUT", "/v1/sessions", "GET, POST")]
    [InlineData("DELETE", "/v1/sessions", "GET, POST")]
    [InlineData("POST", "/v1/sessions/a", "DELETE, GET, PATCH, PUT")]
    [InlineData("GET", "/v1/sessions/a/train-step", "POST")]
    [InlineData("GET", "/v1/sessions/a/inference", "POST")]
    [InlineData("DELETE", "/v1/sessions/a/backward", "POST")]
    [InlineData("GET", "/v1/sessions/a/reset", "POST")]
    [InlineData("POST", "/v1/sessions/a/stats", "GET")]
    [InlineData("GET", "/v1/sessions/a/parameters", "PUT")]
    [InlineData("POST", "/v1/sessions/a/running-stats", "PUT")]
    [InlineData("POST", "/health/live", "GET")]
    [InlineData("NOSUCH", "/v1/sessions", "GET, POST")]
    public async Task A_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(string method, string path, string allowed)
    {
        var answer = await service.Client.SendAsync(new HttpMethod(method), path, null);
        answer.ExpectProblem("method-not-allowed", $"{method} is not allowed here; allowed: ");
        Assert.Equal(allowed.Split(", "), answer.Headers["Allow"].Split(", ").Order());
    }

    [Theory]
    [InlineData("/v1")]
    [InlineData("/v1/nosuch")]
    [InlineData("/v1/sessions/a/nosuch")]
    [InlineData("/v1/sessions/a/snapshot")]
    [InlineData("/v1/sessions/a/states")]
    [InlineData("/v1/sessions/a/stats/more")]
    [InlineData("/v1/sessions//stats")]
    [InlineData("/v1/sessions/a/b/stats")]
    [InlineData("/problems/nosuch")]
    [InlineData("/openapi/v2.json")]
    public async Task A_path_that_does_not_exist_is_not_found(string path) => (await service.Client.GetAsync(path))
        .ExpectProblem("not-found");

    private async Task<Answer> SendAsync(string call, SessionClient session, string? type, string? accept, byte[]? other = null)
    {
        var (method, path, body) = Calls[call];
        using var content = body is null ? null : new ByteArrayContent(other ?? Encoding.UTF8.GetBytes(body));
        if (type is not null) content?.Headers.TryAddWithoutValidation("Content-Type", type);
        if (type is null) Assert.Null(content?.Headers.ContentType as MediaTypeHeaderValue);
        (string, string)[] headers = accept is null ? [] : [("Accept", accept)];
        return await service.Client.SendAsync(new HttpMethod(method), path.Replace("{0}", session.Name, StringComparison.Ordinal), content, headers);
    }
}
