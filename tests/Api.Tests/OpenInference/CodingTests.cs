using System.IO.Compression;
using System.Text;

namespace BnService.Api.Tests.OpenInference;

/// <summary>Content codings, of the requests of every call and of infer's answers.</summary>
[Collection(WholeProcess.Name)]
public sealed class CodingTests : IDisposable
{
    private const int Limit = 1 << 20;
    private const string Request = """{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,2,3,4,5,6]}]}""";

    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Service _service = Service.With(("Limits:MaxBodyBytes", $"{Limit}"));

    [Theory]
    [InlineData("gzip")]
    [InlineData("GZIP")]
    [InlineData("deflate")]
    [InlineData("br")]
    [InlineData("identity")]
    public async Task A_request_may_be_compressed(string coding)
    {
        var model = await _service.TrainedModelAsync();
        var expected = InferResult.Of(await model.InferAsync(Request)).Elements;
        Assert.Equal(expected, InferResult.Of(await model.SendAsync(Encode(coding, Encoding.UTF8.GetBytes(Request)), ("Content-Encoding", coding))).Elements);

        // The length of the JSON is that of the decoded body.
        var json = ModelClient.Request(ModelClient.BinaryInput([2, 3], "FP32", 24));
        var body = Encode(coding, [.. Encoding.UTF8.GetBytes(json), .. TensorBytes.Write("FP32", [1, 2, 3, 4, 5, 6])]);
        Assert.Equal(expected, InferResult.Of(await model.SendAsync(body, ("Content-Encoding", coding), (ModelClient.LengthHeader, $"{json.Length}"))).Elements);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("deflate")]
    [InlineData("br")]
    public async Task Every_other_call_reads_compressed_bodies_too(string coding)
    {
        var session = await _service.CreateAsync("""{"num_features":2}""");
        var answer = await PostAsync($"{session.Path}/train-step", coding, Encode(coding, """{"x":[[1,2],[3,5]]}"""u8.ToArray()));
        Assert.Equal(2, answer.Expect(200)["count"].GetInt32());
        (await PostAsync("/v2/repository/index", coding, Encode(coding, """{"ready":true}"""u8.ToArray()))).Expect(200);
    }

    [Theory]
    [InlineData("zstd")]
    [InlineData("gzip, deflate")]
    [InlineData("x-nosuch")]
    public async Task An_unknown_coding_is_refused_with_those_that_are_known(string coding)
    {
        var model = await _service.TrainedModelAsync();
        (await model.SendAsync(Encoding.UTF8.GetBytes(Request), ("Content-Encoding", coding))).ExpectError(400, "gzip, deflate, br", coding);
        (await PostAsync($"{model.Session.Path}/inference", coding, "{}"u8.ToArray())).ExpectProblem("unsupported-media-type", "gzip, deflate, br", coding);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("deflate")]
    [InlineData("br")]
    public async Task Bytes_that_are_none_of_the_coding_are_refused(string coding)
    {
        var model = await _service.TrainedModelAsync();
        var whole = Encode(coding, "{                    }"u8.ToArray());
        byte[][] bodies = ["{                    }"u8.ToArray(), [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], whole[..(whole.Length / 2)], []];
        foreach (var body in bodies)
        {
            (await model.SendAsync(body, ("Content-Encoding", coding))).ExpectError(400);
            (await PostAsync($"{model.Session.Path}/train-step", coding, body)).ExpectProblem("malformed-body");
        }
        // A bare deflate stream is not what HTTP calls deflate.
        using var bare = new MemoryStream();
        using (var stream = new DeflateStream(bare, CompressionLevel.Fastest, leaveOpen: true)) stream.Write(Encoding.UTF8.GetBytes(Request));
        (await model.SendAsync(bare.ToArray(), ("Content-Encoding", "deflate"))).ExpectError(400);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("deflate")]
    [InlineData("br")]
    public async Task The_limit_is_on_what_comes_out(string coding)
    {
        var model = await _service.TrainedModelAsync();
        InferResult.Of(await model.SendAsync(Encode(coding, Encoding.UTF8.GetBytes(Request.PadRight(Limit))), ("Content-Encoding", coding)));
        var over = Encode(coding, Encoding.UTF8.GetBytes(Request.PadRight(Limit + 1)));
        (await model.SendAsync(over, ("Content-Encoding", coding))).ExpectError(413, $"at most {Limit} bytes");
        (await PostAsync($"{model.Session.Path}/train-step", coding, over)).ExpectProblem("payload-too-large", $"at most {Limit} bytes");
    }

    /// <summary>A megabyte that unpacks to a gigabyte.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_bomb_is_413_and_is_not_unpacked(bool onKestrel)
    {
        using var kestrel = onKestrel ? Service.OnKestrel(("Limits:MaxBodyBytes", $"{Limit}")) : null;
        var model = await (kestrel ?? _service).TrainedModelAsync();
        var bomb = Bomb();
        Assert.InRange(bomb.Length, 1 << 18, Limit + (1 << 14));
        foreach (var call in (Func<Task<Answer>>[])
            [() => model.SendAsync(bomb, ("Content-Encoding", "gzip")), () => PostAsync($"{model.Session.Path}/train-step", "gzip", bomb, kestrel)])
        {
            var before = GC.GetTotalAllocatedBytes();
            (await call()).Expect(413);
            Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 16L * Limit);
        }
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Theory]
    [InlineData("gzip", "gzip")]
    [InlineData("deflate", "deflate")]
    [InlineData("gzip, deflate", "gzip")]
    [InlineData("gzip, deflate, br, zstd", "gzip")]
    [InlineData("gzip;q=0.1, deflate", "deflate")]
    [InlineData("br", "br")]
    [InlineData("identity", null)]
    [InlineData("gzip;q=0", null)]
    [InlineData(null, null)]
    public async Task An_answer_is_compressed_for_clients_that_ask(string? accepted, string? coding)
    {
        var model = await _service.TrainedModelAsync();
        var x = Batch.Random(8, 3000, 3);
        (string, string)[] headers = accepted is null ? [] : [("Accept-Encoding", accepted)];
        foreach (var more in (string[])["", """ "parameters":{"binary_data_output":true},"""])
        {
            var request = ModelClient.Request(ModelClient.Input(x), more);
            var answer = (await model.InferAsync(request, headers)).Expect(200);
            Assert.Equal(coding, answer.Headers.GetValueOrDefault("Content-Encoding"));
            var result = InferResult.Of(answer, Decode(coding, answer.Body));
            Assert.Equal(InferResult.Of(await model.InferAsync(request)).Elements, result.Elements);
        }
    }

    [Fact]
    public async Task Nothing_but_what_was_inferred_is_compressed()
    {
        var model = await _service.TrainedModelAsync();
        var asks = ("Accept-Encoding", "gzip, deflate");
        (await model.InferAsync("{", asks)).ExpectError(400);
        (await model.InferAsync(ModelClient.Request(ModelClient.Input(new Batch([1, 3], [float.NaN, 1, 2]))), asks)).ExpectError(400);
        (await model.InferAsync(new string(' ', Limit + 1), asks)).ExpectError(413);
        (await _service.Client.PostAsync("/v2/models/nosuch/infer", "{}", asks)).ExpectError(404);
        foreach (var path in (string[])["/v2", model.Path, $"{model.Path}/stats", "/v2/models/stats", model.Session.Path, $"{model.Session.Path}/stats"])
            Assert.False((await _service.Client.GetAsync(path, asks)).Expect(200).Headers.ContainsKey("Content-Encoding"));
    }

    public void Dispose() => _service.Dispose();

    private async Task<Answer> PostAsync(string path, string coding, byte[] body, Service? service = null)
    {
        using var content = ServiceClient.JsonContent(body);
        content.Headers.Add("Content-Encoding", coding);
        return await (service ?? _service).Client.SendAsync(HttpMethod.Post, path, content);
    }

    // A file of gzip may consist of several, one behind the other.
    private static byte[] Bomb()
    {
        var member = Encode("gzip", new byte[1 << 24]);
        return [.. Enumerable.Repeat(member, (1 << 30) / (1 << 24)).SelectMany(bytes => bytes)];
    }

    private static byte[] Encode(string coding, byte[] body)
    {
        using var packed = new MemoryStream();
        using (Stream stream = coding.ToLowerInvariant() switch
        {
            "gzip" => new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true),
            "deflate" => new ZLibStream(packed, CompressionLevel.Optimal, leaveOpen: true),
            "br" => new BrotliStream(packed, CompressionLevel.Optimal, leaveOpen: true),
            _ => new BufferedStream(packed),
        })
        {
            stream.Write(body);
            stream.Flush();
            if (stream is BufferedStream) return packed.ToArray();
        }
        return packed.ToArray();
    }

    private static byte[] Decode(string? coding, byte[] body)
    {
        using var packed = new MemoryStream(body);
        using Stream stream = coding switch
        {
            "gzip" => new GZipStream(packed, CompressionMode.Decompress),
            "deflate" => new ZLibStream(packed, CompressionMode.Decompress),
            "br" => new BrotliStream(packed, CompressionMode.Decompress),
            _ => packed,
        };
        using var unpacked = new MemoryStream();
        stream.CopyTo(unpacked);
        return unpacked.ToArray();
    }
}
