using System.IO.Compression;
using System.Net.Http.Headers;
using System.Text;

namespace BnService.Api.Tests.Idempotency;

/// <summary>What a key is, what it belongs to, and how long it is remembered.</summary>
public sealed class KeyTests(Service service) : IClassFixture<Service>
{
    private const string Header = "Idempotency-Key";
    private static readonly Batch X = Batch.Random(1, 8, 3), Dy = Batch.Random(2, 8, 3);
    private static readonly string Body = $$"""{"x":{{X.Json}},"retain":false}""";

    private static readonly Dictionary<string, (string Call, string? Json)> Calls = new()
    {
        ["train-step"] = ("train-step", Body),
        ["backward"] = ("backward", $$"""{"x":{{X.Json}},"dy":{{Dy.Json}}}"""),
        ["backward, update"] = ("backward", $$$"""{"x":{{{X.Json}}},"dy":{{{Dy.Json}}},"update":{"optimizer":"sgd"}}"""),
        ["calibration/batches"] = ("calibration/batches", $$"""{"x":{{X.Json}}}"""),
        ["calibration/commit"] = ("calibration/commit", null),
        ["calibration"] = ("calibration", null),
        ["merge"] = ("merge", """{"moments":[{"count":2,"mean":[1,2,3],"m2":[1,2,3]}]}"""),
    };

    public static TheoryData<string> CallNames => new(Calls.Keys);

    public static TheoryData<string, string> InvalidKeys
    {
        get
        {
            var cases = new TheoryData<string, string>();
            foreach (var call in Calls.Keys)
            {
                foreach (var key in (string[])[" ", new string('k', 65), "a b", "a\tb", "schlüssel", "a\u007f", "日"]) cases.Add(call, key);
            }
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(InvalidKeys))]
    public async Task What_is_no_key_is_refused(string call, string key)
    {
        var session = await GatheringAsync();
        (await session.RefusedAsync(s => SendAsync(s, call, (Header, key)))).ExpectProblem("invalid-option", "Idempotency-Key", "1 to 64 visible ASCII");
    }

    [Theory]
    [MemberData(nameof(CallNames))]
    public async Task Two_keys_are_none(string call)
    {
        var session = await GatheringAsync();
        (await session.RefusedAsync(s => SendAsync(s, call, (Header, "a"), (Header, "b")))).ExpectProblem("invalid-option", "Idempotency-Key");
        (await SendAsync(session, call, (Header, "a"))).Expect(call == "calibration" ? 204 : 200);
    }

    /// <summary>As they come over a real connection: the test server forgets a header without a value.</summary>
    [Theory]
    [InlineData("Idempotency-Key: a\r\nIdempotency-Key: a\r\n")]
    [InlineData("Idempotency-Key:\r\n")]
    [InlineData("Idempotency-Key: \r\n")]
    [InlineData("Idempotency-Key: a b\r\n")]
    [InlineData("idempotency-key: a, b\r\n")]
    [InlineData("Idempotency-Key: \u00e4\r\n")]
    public async Task What_is_no_key_is_refused_on_the_wire(string header)
    {
        using var own = Service.OnKestrel();
        var session = await own.CreateAsync("""{"num_features":3}""");
        using var connection = await own.ConnectAsync();
        await connection.WriteAsync($"POST {session.Path}/train-step HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {Body.Length}\r\n{header}\r\n{Body}");
        var answer = await connection.ReadAnswerAsync();
        // Bytes that are no text at all end at the server.
        Assert.Contains(answer.Status, header.Contains('\u00e4', StringComparison.Ordinal) ? (int[])[400, 422] : [422]);
        if (answer.Status == 422) Assert.Contains("\"invalid-option\"", answer.Text, StringComparison.Ordinal);
        Assert.Equal(1, (await session.GetAsync()).Version);
    }

    [Theory]
    [InlineData("k")]
    [InlineData("!")]
    [InlineData("~")]
    [InlineData("a,b;c=\"d\"")]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123")]
    [InlineData("6f1c2b1e-7d5a-4c0e-9d52-0d6d9f9a7a11")]
    public async Task Every_visible_character_may_be_in_a_key(string key)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var first = (await session.TrainAsync(Body, (Header, key))).Expect(200);
        SameAnswer.Again(first, await session.TrainAsync(Body, (Header, key)));
    }

    /// <summary>Of a call that is not remembered the header is not looked at.</summary>
    [Fact]
    public async Task A_key_on_another_call_says_nothing()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var body = $$"""{"x":{{X.Json}}}""";
        foreach (var key in (string[])["k", "a b"])
        {
            var answer = (await session.PostAsync("inference", Forms.Json, Encoding.UTF8.GetBytes(body), (Header, key))).Expect(200);
            Assert.False(answer.Headers.ContainsKey("Idempotent-Replayed"));
        }
    }

    [Theory]
    [MemberData(nameof(CallNames))]
    public async Task A_key_names_one_request(string call)
    {
        var session = await GatheringAsync();
        var first = await SendAsync(session, call, (Header, "k"));
        foreach (var other in Calls.Keys.Where(other => other != call))
            (await session.RefusedAsync(s => SendAsync(s, other, (Header, "k")))).ExpectProblem("idempotency-key-reused", "'k'", "another request");
        var (path, json) = Calls[call];
        var method = call == "calibration" ? HttpMethod.Delete : HttpMethod.Post;
        // Another query is another request, whether or not the call looks at it.
        (await session.RefusedAsync(s => s.SendAsync(method, $"{path}?a=b", ServiceClient.JsonContent(json), (Header, "k")))).ExpectProblem("idempotency-key-reused");
        if (json is not null)
        {
            // A body is known by its bytes.
            (await session.RefusedAsync(s => s.SendAsync(method, path, ServiceClient.JsonContent(json + " "), (Header, "k")))).ExpectProblem("idempotency-key-reused");
        }
        SameAnswer.Again(first, await SendAsync(session, call, (Header, "k")));
    }

    [Fact]
    public async Task Another_batch_under_the_same_key_is_refused()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var first = (await session.TrainAsync(Body, (Header, "k"))).Expect(200);
        var other = new Batch(X.Shape, [.. X.Data[..^1], MathF.BitIncrement(X.Data[^1])]);
        foreach (var form in Forms.All)
            (await session.RefusedAsync(s => s.PostAsync("train-step", Message.Of(other).With("retain", "false"), form, headers: (Header, "k")))).ExpectProblem("idempotency-key-reused");
        (await session.RefusedAsync(s => s.TrainAsync(Body.Replace("false", "true", StringComparison.Ordinal), (Header, "k")))).ExpectProblem("idempotency-key-reused");
        SameAnswer.Again(first, await session.TrainAsync(Body, (Header, "k")));
    }

    [Theory]
    [InlineData(Forms.Json)]
    [InlineData(Forms.Safetensors)]
    [InlineData(Forms.Npy)]
    public async Task A_body_is_the_same_however_it_is_packed(string form)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var message = Message.Of(Batch.Random(3, 20_000, 3)).With("retain", "false");
        var (body, path) = (message.Body(form), $"train-step{message.Query(form)}");
        var first = (await session.PostAsync(path, form, body, (Header, "k"))).Expect(200);
        SameAnswer.Again(first, await session.SendAsync(HttpMethod.Post, path, new PiecewiseContent(body, form, 4093), (Header, "k")));
        SameAnswer.Again(first, await session.SendAsync(HttpMethod.Post, path, Packed(form, body), (Header, "k")));
        (await session.SendAsync(HttpMethod.Post, path, Packed(form, message.With("a", "b").Body(form == Forms.Npy ? Forms.Json : form)), (Header, "k"))).Expect(form == Forms.Npy ? 400 : 422);
        Assert.Equal(2, (await session.GetAsync()).Version);
    }

    [Fact]
    public async Task A_refused_call_leaves_its_key_free()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.TrainAsync($$"""{"x":{{Batch.Random(1, 8, 4).Json}}}""", (Header, "k"))).ExpectProblem("shape-mismatch");
        (await session.TrainAsync("""{"x":[[1,2,3]]}""", (Header, "k"))).ExpectProblem("batch-too-small");
        (await session.TrainAsync("""{"x":[[1,2,3],["NaN",2,3]]}""", (Header, "k"))).ExpectProblem("non-finite-input");
        (await session.TrainAsync("""{"x":[[1,2""", (Header, "k"))).ExpectProblem("malformed-body");
        (await session.TrainAsync(Body, (Header, "k"), ("If-Match", "\"7\""))).ExpectProblem("version-conflict");
        (await session.CommitAsync((Header, "k"))).ExpectProblem("no-running-statistics");
        (await session.BackwardAsync($$"""{"step_id":"gone","dy":{{X.Json}}}""", (Header, "k"))).ExpectProblem("step-expired");
        (await session.BackwardAsync($$$"""{"x":{{{X.Json}}},"dy":{{{Dy.Json}}},"update":{"optimizer":"sgd","learning_rate":1e308}}""", (Header, "k"))).ExpectProblem("non-finite-input");
        var first = (await session.TrainAsync(Body, (Header, "k"))).Expect(200);
        Assert.Equal(2, first.Version);
        SameAnswer.Again(first, await session.TrainAsync(Body, (Header, "k")));
    }

    [Fact]
    public async Task The_last_256_keys_are_remembered()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var first = new List<Answer>();
        for (var i = 0; i < 257; i++)
        {
            // Whichever calls they belong to; a replay takes no place.
            first.Add((i % 3 == 0 ? await session.CalibrateAsync($$"""{"x":{{X.Json}}}""", (Header, $"k{i}")) : await session.TrainAsync(Body, (Header, $"k{i}"))).Expect(200));
            SameAnswer.Again(first[i], i % 3 == 0 ? await session.CalibrateAsync($$"""{"x":{{X.Json}}}""", (Header, $"k{i}")) : await session.TrainAsync(Body, (Header, $"k{i}")));
        }
        SameAnswer.Again(first[1], await session.TrainAsync(Body, (Header, "k1")));
        SameAnswer.Again(first[256], await session.TrainAsync(Body, (Header, "k256")));
        Assert.Equal(258, (await session.GetAsync()).Version);
        var anew = (await session.TrainAsync(Body, (Header, "k0"))).Expect(200);
        Assert.Equal(259, anew.Version);
        Assert.False(anew.Headers.ContainsKey("Idempotent-Replayed"));
        // That was a new key, for which the oldest has had to go.
        Assert.Equal(260, (await session.TrainAsync(Body, (Header, "k1"))).Expect(200).Version);
        SameAnswer.Again(anew, await session.TrainAsync(Body, (Header, "k0")));
    }

    /// <summary>Its dx cannot be computed again; that it was made is still known, so that nobody makes it twice.</summary>
    [Fact]
    public async Task An_update_whose_step_is_gone_is_told_to_have_been_made()
    {
        var time = new ManualTime();
        using var own = Service.At(time);
        var session = await own.CreateAsync("""{"num_features":3}""");
        var step = (await session.TrainAsync(X, retain: true)).Expect(200).StepId;
        var gradients = $$"""{"step_id":"{{step}}","dy":{{Dy.Json}}""";
        var update = gradients + ",\"update\":{\"optimizer\":\"sgd\"}}";
        Assert.Equal(3, (await session.BackwardAsync(update, (Header, "u"))).Expect(200).Version);
        (await session.BackwardAsync(gradients + "}", (Header, "g"))).Expect(200);
        time.AdvanceBy(TimeSpan.FromHours(1));
        (await session.RefusedAsync(s => s.BackwardAsync(update, (Header, "u")))).ExpectProblem("step-expired", "resend x", "'u' was made, by version 3: resend x without it");
        Assert.DoesNotContain("was made", (await session.BackwardAsync(gradients + "}", (Header, "g"))).ExpectProblem("step-expired").Detail, StringComparison.Ordinal);
        Assert.DoesNotContain("was made", (await session.BackwardAsync(update, (Header, "n"))).ExpectProblem("step-expired").Detail, StringComparison.Ordinal);
        (await session.BackwardAsync(update + " ", (Header, "u"))).ExpectProblem("idempotency-key-reused");
    }

    [Fact]
    public async Task A_key_belongs_to_its_session_and_goes_with_it()
    {
        var (one, other) = (await service.CreateAsync("""{"name":"owner","num_features":3}"""), await service.CreateAsync("""{"num_features":3}"""));
        (await one.TrainAsync(Body, (Header, "k"))).Expect(200);
        Assert.False((await other.TrainAsync(Body, (Header, "k"))).Expect(200).Headers.ContainsKey("Idempotent-Replayed"));
        (await one.ResetAsync(null)).Expect(200);
        Assert.Equal("true", (await one.TrainAsync(Body, (Header, "k"))).Expect(200).Headers["Idempotent-Replayed"]);
        (await one.DeleteAsync()).Expect(204);
        (await one.TrainAsync(Body, (Header, "k"))).ExpectProblem("session-not-found");
        await service.CreateAsync("""{"name":"owner","num_features":3}""");
        var anew = (await one.CalibrateAsync($$"""{"x":{{X.Json}}}""", (Header, "k"))).Expect(200);
        Assert.Equal((2, false), (anew.Version, anew.Headers.ContainsKey("Idempotent-Replayed")));
    }

    // Something is gathered, so that each call has something to do.
    private async Task<SessionClient> GatheringAsync()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.CalibrateAsync(Batch.Random(5, 8, 3))).Expect(200);
        return session;
    }

    private static Task<Answer> SendAsync(SessionClient session, string call, params (string Name, string Value)[] headers) =>
        session.SendAsync(call == "calibration" ? HttpMethod.Delete : HttpMethod.Post, Calls[call].Call, ServiceClient.JsonContent(Calls[call].Json), headers);

    private static ByteArrayContent Packed(string form, byte[] body)
    {
        using var packed = new MemoryStream();
        using (var stream = new GZipStream(packed, CompressionLevel.Fastest)) stream.Write(body);
        return new(packed.ToArray()) { Headers = { ContentType = new MediaTypeHeaderValue(form), ContentEncoding = { "gzip" } } };
    }
}
