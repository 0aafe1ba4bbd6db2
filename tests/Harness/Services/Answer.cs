using System.Text;
using System.Text.Json;

namespace BnService.Harness;

/// <summary>What the service has answered.</summary>
public sealed class Answer
{
    private Answer(int status, string? contentType, Dictionary<string, string> headers, byte[] body)
    {
        (Status, ContentType, Headers, Body) = (status, contentType, headers, body);
        // On a copy, so that the answer needs no disposal.
        if (body.Length > 0 && !headers.ContainsKey("Content-Encoding") && contentType?.EndsWith("json", StringComparison.Ordinal) == true)
        {
            using var document = JsonDocument.Parse(body);
            Json = document.RootElement.Clone();
        }
    }

    public int Status { get; }

    public string? ContentType { get; }

    public IReadOnlyDictionary<string, string> Headers { get; }

    public byte[] Body { get; }

    public JsonElement Json { get; }

    public string Text => Encoding.UTF8.GetString(Body);

    /// <summary>The answer as named tensors.</summary>
    public TensorFile Tensors => TensorFile.Parse(Body);

    /// <summary>The answer as an array.</summary>
    public Batch Array => ArrayFile.Parse(Body);

    public string? ETag => Headers.GetValueOrDefault("ETag");

    public long Version => Json.GetProperty("version").GetInt64();

    public string Name => Json.GetProperty("name").GetString()!;

    public string? StepId => Json.GetProperty("step_id").GetString();

    public static async Task<Answer> ReadAsync(HttpResponseMessage response)
    {
        var headers = response.Headers.Concat(response.Content.Headers)
            .ToDictionary(header => header.Key, header => string.Join(", ", header.Value), StringComparer.OrdinalIgnoreCase);
        return new Answer((int)response.StatusCode, response.Content.Headers.ContentType?.MediaType, headers, await response.Content.ReadAsByteArrayAsync());
    }

    /// <summary>The answer, once its status is known to be the expected one.</summary>
    public Answer Expect(int status)
    {
        Assert.True(Status == status, $"expected status {status}, got {Status}: {Cut(Text)}");
        return this;
    }

    /// <summary>The answer, once it is known to be this problem with a detail that contains all of these texts.</summary>
    public Answer ExpectProblem(string code, params string[] details)
    {
        Assert.True(Json.ValueKind == JsonValueKind.Object && Json.TryGetProperty("code", out var actual) && actual.GetString() == code,
            $"expected the problem {code}, got status {Status}: {Cut(Text)}");
        foreach (var detail in details) Assert.Contains(detail, Detail, StringComparison.Ordinal);
        return Expect(ApiContract.StatusOf(code));
    }

    public string Detail => Json.GetProperty("detail").GetString()!;

    public JsonElement this[string field] => Json.GetProperty(field);

    public bool Has(string field) => Json.TryGetProperty(field, out _);

    /// <summary>A flat array of numbers.</summary>
    public double[] Numbers(string field) => [.. Json.GetProperty(field).EnumerateArray().Select(Number)];

    /// <summary>Expects a flat array of exactly these numbers.</summary>
    public void ExpectNumbers(string field, params double[] expected) => Assert.Equal(expected, Numbers(field));

    /// <summary>A tensor.</summary>
    public Batch Tensor(string field)
    {
        var tensor = Json.GetProperty(field);
        Assert.Equal(["shape", "data"], tensor.EnumerateObject().Select(property => property.Name));
        return new Batch(
            [.. tensor.GetProperty("shape").EnumerateArray().Select(dimension => dimension.GetInt32())],
            [.. tensor.GetProperty("data").EnumerateArray().Select(Element)]);
    }

    private static float Element(JsonElement element) => element.ValueKind == JsonValueKind.Number ? element.GetSingle() : (float)Number(element);

    /// <summary>A number, or one of the three strings that stand for what is not finite.</summary>
    public static double Number(JsonElement element) => element.ValueKind == JsonValueKind.Number
        ? element.GetDouble()
        : element.GetString() switch
        {
            "NaN" => double.NaN,
            "Infinity" => double.PositiveInfinity,
            "-Infinity" => double.NegativeInfinity,
            var other => throw new FormatException($"not a number: {other}"),
        };

    private static string Cut(string text) => text.Length <= 1000 ? text : text[..1000] + "…";
}
