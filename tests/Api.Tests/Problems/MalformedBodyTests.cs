using System.Text;

namespace BnService.Api.Tests.Problems;

public sealed class MalformedBodyTests(Service service) : IClassFixture<Service>
{
    private static readonly Dictionary<string, (string Method, string Path, string Body)> Calls = new()
    {
        ["create"] = ("POST", "", """{"name":"truncated","num_features":2,"momentum":null,"affine":true,"labels":{"a":"b\u00e9"}}"""),
        ["patch"] = ("PATCH", "/{0}", """{"momentum":0.25,"eps":1e-3,"mode":"frozen","labels":{"a":"b"}}"""),
        ["reset"] = ("POST", "/{0}/reset", """{"parameters":true}"""),
        ["train-step"] = ("POST", "/{0}/train-step", """{"x":{"shape":[2,2],"data":[1,-2.5,3e1,"NaN"]},"retain":false}"""),
        ["train-step, nested"] = ("POST", "/{0}/train-step", """{"retain":true,"x":[[1,2],[3.5,4]]}"""),
        ["inference"] = ("POST", "/{0}/inference", """{"x":[[1,"-Infinity"]]}"""),
        ["backward"] = ("POST", "/{0}/backward", """{"x":[[1,2],[3,5]],"dy":[[1,0],[0,1]],"mode":"train","update":{"optimizer":"sgd","learning_rate":0.1}}"""),
        ["parameters"] = ("PUT", "/{0}/parameters", """{"gamma":[1.5,2],"beta":[0,1]}"""),
        ["running-stats"] = ("PUT", "/{0}/running-stats", """{"running_mean":[1,2],"running_var":[1,1],"num_batches_tracked":3}"""),
    };

    private static readonly string[] Bodies =
    [
        "[]", "\"text\"", "3", "-0.5e3", "null", "true", "[{}]", " ", "\n\t", "{", "}", "nul", "'a'", "{}}", "{} {}", "{}x", "{}\0",
        "{,}", "{\"a\"}", "{\"a\":}", "{a:1}", "// no\n{}", "/* no */{}", "\0", "<x/>", "a=b",
    ];

    public static TheoryData<string> AllCalls => new(Calls.Keys);

    public static TheoryData<string, string> NotAnObject
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var call in Calls.Keys.Where(call => call != "train-step, nested"))
            {
                foreach (var body in Bodies) data.Add(call, body);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task A_body_that_ends_at_any_byte_before_its_last_is_malformed(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        var before = await session.StateAsync();
        var body = Encoding.UTF8.GetBytes(Calls[call].Body);
        // An absent body of reset is allowed.
        for (var length = call == "reset" ? 1 : 0; length < body.Length; length++)
        {
            var answer = await SendAsync(call, session, body[..length]);
            answer.ExpectProblem("malformed-body");
        }
        Assert.Equal(before, await session.StateAsync());
        var whole = await SendAsync(call, session, body);
        Assert.True(whole.Status is 200 or 201, whole.Text);
    }

    [Theory]
    [MemberData(nameof(NotAnObject))]
    public async Task A_body_that_is_not_one_object_is_malformed(string call, string body)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = await session.RefusedAsync(s => SendAsync(call, s, Encoding.UTF8.GetBytes(body)));
        // Of two things that are wrong the first one is told: a field that the call needs or does not know.
        if (!body.StartsWith("{}", StringComparison.Ordinal) && body != "{\"a\":}") answer.ExpectProblem("malformed-body");
        else Assert.Contains(answer["code"].GetString(), (string[])["malformed-body", "invalid-option"]);
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task Something_behind_the_body_is_malformed(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        foreach (var tail in (string[])["x", "{}", ",", "]", "}", "null", "\0", "//"])
            (await session.RefusedAsync(s => SendAsync(call, s, Encoding.UTF8.GetBytes(Calls[call].Body + tail))))
                .ExpectProblem("malformed-body");
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task White_space_around_the_body_is_not(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        var body = $" \r\n\t{Calls[call].Body.Replace("truncated", $"spaced-{Guid.NewGuid():N}", StringComparison.Ordinal)} \n";
        Assert.True((await SendAsync(call, session, Encoding.UTF8.GetBytes(body))).Status is 200 or 201);
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task A_byte_order_mark_is_passed_over(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        var body = Calls[call].Body.Replace("truncated", $"marked-{Guid.NewGuid():N}", StringComparison.Ordinal);
        Assert.True((await SendAsync(call, session, [.. Encoding.UTF8.GetPreamble(), .. Encoding.UTF8.GetBytes(body)])).Status is 200 or 201);
        byte[] twice = [.. Encoding.UTF8.GetPreamble(), .. Encoding.UTF8.GetPreamble(), .. Encoding.UTF8.GetBytes(body)];
        (await session.RefusedAsync(s => SendAsync(call, s, twice))).ExpectProblem("malformed-body");
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task Another_encoding_is_malformed(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        foreach (var encoding in (Encoding[])[Encoding.Unicode, Encoding.BigEndianUnicode, Encoding.UTF32])
        {
            foreach (var mark in (byte[][])[encoding.GetPreamble(), []])
            {
                byte[] body = [.. mark, .. encoding.GetBytes(Calls[call].Body)];
                (await session.RefusedAsync(s => SendAsync(call, s, body))).ExpectProblem("malformed-body",
                    "the body is not JSON in UTF-8: it is UTF-16 or UTF-32; encode it as UTF-8");
            }
        }
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task Ten_thousand_levels_are_refused_wherever_they_are(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var arrays = new string('[', 10_000) + new string(']', 10_000);
        var objects = string.Concat(Enumerable.Repeat("{\"a\":", 10_000)) + "1" + new string('}', 10_000);
        string[] bodies =
        [
            arrays, objects, new string('[', 10_000), $"{{\"x\":{arrays}}}", $"{{\"x\":{objects}}}", $"{{\"labels\":{objects}}}",
            $"{{\"update\":{objects}}}", $"{{\"gamma\":{arrays}}}",
        ];
        foreach (var deep in bodies)
        {
            var answer = await session.RefusedAsync(s => SendAsync(call, s, Encoding.UTF8.GetBytes(deep)));
            Assert.Contains(answer["code"].GetString(), (string[])["malformed-body", "shape-mismatch", "invalid-option"]);
        }
        (await session.RefusedAsync(s => SendAsync(call, s, Encoding.UTF8.GetBytes(arrays)))).ExpectProblem("malformed-body");
    }

    [Theory]
    [InlineData("create", """{"num_features":2,"num_features":2}""", "'num_features' twice")]
    [InlineData("create", """{"num_features":2,"labels":{"a":"1","a":"1"}}""", "labels names a field twice")]
    [InlineData("create", """{"num_features":2,"labels":{"a":"1","\u0061":"1"}}""", "labels names a field twice")]
    [InlineData("create", """{"num_features":2,"momentum":null,"momentum":0.1}""", "'momentum' twice")]
    [InlineData("create", """{"num_features":2,"e\u0070s":1,"eps":1}""", "'eps' twice")]
    [InlineData("patch", """{"eps":1,"eps":1}""", "'eps' twice")]
    [InlineData("patch", """{"labels":{"a":"1","a":"2"}}""", "labels names a field twice")]
    [InlineData("reset", """{"parameters":true,"parameters":true}""", "'parameters' twice")]
    [InlineData("train-step", """{"x":[[1,2],[3,4]],"x":[[1,2],[3,4]]}""", "'x' twice")]
    [InlineData("train-step", """{"x":{"shape":[2,2],"data":[1,2,3,4],"data":[1,2,3,4]}}""", "x names 'data' twice")]
    [InlineData("train-step", """{"x":{"shape":[2,2],"shape":[2,2],"data":[1,2,3,4]}}""", "x names 'shape' twice")]
    [InlineData("train-step", """{"x":{"shape":[2,2],"data":[],"data":[1,2,3,4]}}""", "x names 'data' twice")]
    [InlineData("inference", """{"x":[[1,2]],"x":[[1,2]]}""", "'x' twice")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"dy":[[1,2],[3,5]]}""", "'dy' twice")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"update":{"optimizer":"sgd","optimizer":"adam"}}""", "'update.optimizer' twice")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"update":{"optimizer":"sgd"},"update":{"optimizer":"sgd"},"dy":[[1,2],[3,5]]}""", "'update' twice")]
    [InlineData("parameters", """{"gamma":[1,2],"gamma":[1,2]}""", "'gamma' twice")]
    [InlineData("running-stats", """{"running_mean":[1,2],"running_mean":null}""", "'running_mean' twice")]
    public async Task A_name_that_comes_twice_is_malformed(string call, string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => SendAsync(call, s, Encoding.UTF8.GetBytes(body)))).ExpectProblem("malformed-body", detail);
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task A_field_that_the_call_does_not_know_is_refused_with_those_that_it_knows(string call)
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        foreach (var name in (string[])["nosuch", "X", "Num_Features", "retain ", "", "$type", "__proto__", new string('n', 300)])
        {
            var body = $"{{\"{name}\":1,{Calls[call].Body[1..]}";
            (await session.RefusedAsync(s => SendAsync(call, s, Encoding.UTF8.GetBytes(body))))
                .ExpectProblem("invalid-option", $"'{(name.Length <= 64 ? name : name[..64] + "…")}' is not a field of this call; allowed: ");
        }
    }

    private Task<Answer> SendAsync(string call, SessionClient session, byte[] body)
    {
        var (method, path, _) = Calls[call];
        path = path.Replace("{0}", session.Name, StringComparison.Ordinal);
        return service.Client.SendAsync(new HttpMethod(method), $"/v1/sessions{path}", ServiceClient.JsonContent(body));
    }
}
