using System.Globalization;
using System.Text;
using System.Text.Json;

namespace BnService.Harness;

/// <summary>The calls of one model, without a Content-Type unless the test gives one.</summary>
public sealed class ModelClient(ServiceClient client, SessionClient session)
{
    public const string LengthHeader = "Inference-Header-Content-Length";

    public SessionClient Session { get; } = session;

    public string Path { get; private init; } = $"/v2/models/{session.Name}";

    /// <summary>The same calls of a version of the model.</summary>
    public ModelClient OfVersion(string version) => new(client, Session) { Path = $"/v2/models/{Session.Name}/versions/{version}" };

    public Task<Answer> GetAsync(string path = "") => client.GetAsync(Path + path);

    /// <summary>An infer request of JSON alone.</summary>
    public Task<Answer> InferAsync(string json, params (string Name, string Value)[] headers) => SendAsync(Encoding.UTF8.GetBytes(json), headers);

    /// <summary>An infer request of JSON and bytes behind it.</summary>
    public Task<Answer> InferAsync(string json, byte[] tensor, params (string Name, string Value)[] headers) =>
        SendAsync([.. Encoding.UTF8.GetBytes(json), .. tensor], [(LengthHeader, Text(Encoding.UTF8.GetByteCount(json))), .. headers]);

    public async Task<Answer> SendAsync(byte[] body, params (string Name, string Value)[] headers)
    {
        using var content = new ByteArrayContent(body);
        foreach (var (name, value) in headers.Where(IsOfContent)) content.Headers.Add(name, value);
        return await client.SendAsync(HttpMethod.Post, $"{Path}/infer", content, [.. headers.Where(header => !IsOfContent(header))]);
    }

    /// <summary>The request's JSON around one input; of the output where <paramref name="more"/> says so.</summary>
    public static string Request(string input, string more = "") => $$"""{ {{more}} "inputs":[{{input}}]}""";

    /// <summary>An input whose data is in the JSON.</summary>
    public static string Input(Batch x, string datatype = "FP32", bool nested = false) =>
        $$"""{"name":"x","shape":[{{string.Join(',', x.Shape)}}],"datatype":"{{datatype}}","data":{{(nested ? x.NestedJson : $"[{string.Join(',', x.Data.Select(Batch.Text))}]")}}}""";

    /// <summary>An input whose data follows the JSON.</summary>
    public static string BinaryInput(int[] shape, string datatype, long size) =>
        $$$"""{"name":"x","shape":[{{{string.Join(',', shape)}}}],"datatype":"{{{datatype}}}","parameters":{"binary_data_size":{{{size}}}}}""";

    /// <summary>What the model's statistics say.</summary>
    public async Task<JsonElement> StatisticsAsync() => (await GetAsync("/stats")).Expect(200)["model_stats"][0];

    private static bool IsOfContent((string Name, string Value) header) => header.Name.StartsWith("Content-", StringComparison.Ordinal);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}

/// <summary>An infer answer, read as strictly as the strictest client does.</summary>
public sealed record InferResult(JsonElement Json, string Datatype, int[] Shape, byte[]? Bytes)
{
    private static readonly string[] Members = ["model_name", "id", "outputs"];

    public static InferResult Of(Answer answer) => Of(answer.Expect(200), answer.Body);

    public static InferResult Of(Answer answer, byte[] body)
    {
        var length = answer.Headers.TryGetValue(ModelClient.LengthHeader, out var header) ? int.Parse(header, CultureInfo.InvariantCulture) : (int?)null;
        Assert.Equal(length is null ? "application/json" : "application/octet-stream", answer.Headers["Content-Type"]);
        using var document = JsonDocument.Parse(body.AsMemory(0, length ?? body.Length));
        var json = document.RootElement.Clone();
        Assert.Equal(Members.Where(member => member != "id" || json.TryGetProperty("id", out _)), json.EnumerateObject().Select(member => member.Name));
        var output = Assert.Single(json.GetProperty("outputs").EnumerateArray());
        Assert.Equal(["name", "shape", "datatype", length is null ? "data" : "parameters"], output.EnumerateObject().Select(member => member.Name));
        Assert.Equal("y", output.GetProperty("name").GetString());
        var tensor = length is null ? null : body[length.Value..];
        if (tensor is not null) Assert.Equal($$"""{"binary_data_size":{{tensor.Length}}}""", output.GetProperty("parameters").GetRawText());
        return new InferResult(json, output.GetProperty("datatype").GetString()!, [.. output.GetProperty("shape").EnumerateArray().Select(item => item.GetInt32())], tensor);
    }

    public string? Id => Json.TryGetProperty("id", out var id) ? id.GetString() : null;

    public string Model => Json.GetProperty("model_name").GetString()!;

    /// <summary>The elements, as the output's datatype has them.</summary>
    public double[] Elements => Bytes is null
        ? [.. Json.GetProperty("outputs")[0].GetProperty("data").EnumerateArray().Select(item => item.GetDouble())]
        : TensorBytes.Read(Datatype, Bytes);

    public float[] Singles => [.. Elements.Select(element => (float)element)];
}

/// <summary>Elements as little-endian bytes, written down once more than in the service.</summary>
public static class TensorBytes
{
    public static byte[] Write(string datatype, IEnumerable<float> elements) => [.. elements.SelectMany(element => datatype switch
    {
        "FP32" => BitConverter.GetBytes(element),
        "FP64" => BitConverter.GetBytes((double)element),
        "FP16" => BitConverter.GetBytes((Half)element),
        "BF16" => BitConverter.GetBytes(element)[2..],
        _ => throw new ArgumentException(datatype, nameof(datatype)),
    })];

    public static double[] Read(string datatype, byte[] bytes) => datatype switch
    {
        "FP32" => [.. bytes.Chunk(4).Select(element => (double)BitConverter.ToSingle(element))],
        "FP64" => [.. bytes.Chunk(8).Select(element => BitConverter.ToDouble(element))],
        "FP16" => [.. bytes.Chunk(2).Select(element => (double)BitConverter.ToHalf(element))],
        "BF16" => [.. bytes.Chunk(2).Select(element => (double)BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(element) << 16))],
        _ => throw new ArgumentException(datatype, nameof(datatype)),
    };
}

public static class OpenInferenceAnswers
{
    /// <summary>Creates a session and gives it as a model.</summary>
    public static async Task<ModelClient> ModelAsync(this Service service, string options) => new(service.Client, await service.CreateAsync(options));

    /// <summary>A model of three channels that has learnt something.</summary>
    public static async Task<ModelClient> TrainedModelAsync(this Service service)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        (await model.Session.TrainAsync(Batch.Random(5, 64, 3))).Expect(200);
        return model;
    }

    /// <summary>The answer, once it is known to be this error.</summary>
    public static Answer ExpectError(this Answer answer, int status, params string[] texts)
    {
        answer.Expect(status);
        foreach (var text in texts) Assert.Contains(text, answer["error"].GetString(), StringComparison.Ordinal);
        return answer;
    }
}
