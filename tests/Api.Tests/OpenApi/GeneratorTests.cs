using System.IO.Compression;
using System.Text.Json;

namespace BnService.Api.Tests.OpenApi;

/// <summary>What generators of clients need of the document. tests/OpenApi/clients.sh generates, compiles and runs some.</summary>
public sealed class GeneratorTests(Service service) : IClassFixture<Service>
{
    // A quarter of it was once the same problems again and again.
    private const int LargestDocument = 160_000;

    private static readonly JsonElement Schemas = ApiDocument.CheckedIn.Root.GetProperty("components").GetProperty("schemas");

    [Fact]
    public void A_tensor_is_one_plain_object()
    {
        var tensor = Schemas.GetProperty("Tensor");
        Assert.Equal("object", tensor.GetProperty("type").GetString());
        Assert.Equal(["data", "shape"], tensor.GetProperty("properties").EnumerateObject().Select(property => property.Name).Order());
        Assert.Equal("number", tensor.GetProperty("properties").GetProperty("data").GetProperty("items").GetProperty("type").GetString());
        Assert.Contains("nested arrays", tensor.GetProperty("description").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Alternatives_are_null_and_one_other_schema()
    {
        foreach (var (path, schema) in Everywhere(ApiDocument.CheckedIn.Root, "#"))
        {
            if (!schema.TryGetProperty("oneOf", out var alternatives)) continue;
            Assert.True(alternatives.GetArrayLength() == 2 && alternatives[0].GetProperty("type").GetString() == "null" && alternatives[1].TryGetProperty("$ref", out _), path);
        }
    }

    [Fact]
    public void Words_are_of_type_string_and_null_is_none_of_them()
    {
        var enumerations = Everywhere(ApiDocument.CheckedIn.Root, "#").Where(found => found.Schema.TryGetProperty("enum", out _)).ToList();
        Assert.NotEmpty(enumerations);
        Assert.All(enumerations, found =>
        {
            Assert.True(found.Schema.GetProperty("type").ValueEquals("string"), found.Path);
            Assert.All(found.Schema.GetProperty("enum").EnumerateArray(), word => Assert.Equal(JsonValueKind.String, word.ValueKind));
        });
    }

    /// <summary>A generated type with a number that cannot be null would send 0 for what nobody has set.</summary>
    [Fact]
    public void What_may_be_absent_may_be_null()
    {
        foreach (var name in ApiDocument.CheckedIn.Schemas)
        {
            var schema = ApiDocument.CheckedIn.Resolve(name);
            if (!schema.TryGetProperty("properties", out var properties)) continue;
            string?[] required = schema.TryGetProperty("required", out var names) ? [.. names.EnumerateArray().Select(field => field.GetString())] : [];
            foreach (var property in properties.EnumerateObject().Where(property => !required.Contains(property.Name)))
            {
                Assert.True(property.Value.TryGetProperty("oneOf", out _)
                    || (property.Value.GetProperty("type").ValueKind == JsonValueKind.Array && property.Value.GetProperty("type").EnumerateArray().Any(type => type.ValueEquals("null"))),
                    $"{name}.{property.Name}");
            }
        }
    }

    [Fact]
    public void No_schema_has_a_default() =>
        Assert.DoesNotContain(Everywhere(ApiDocument.CheckedIn.Root, "#"), found => found.Schema.TryGetProperty("default", out _) && !found.Path.EndsWith("/properties", StringComparison.Ordinal));

    [Theory]
    [InlineData("GET /v1/sessions", "limit", 1, 1000)]
    [InlineData("GET /v1/sessions/{session}/history", "limit", 1, 1024)]
    [InlineData("GET /v1/sessions/{session}/history", "channel", 0, null)]
    [InlineData("POST /v1/sessions/{session}/inference", "version", 1, null)]
    [InlineData("POST /v1/sessions/{session}/inference", "Bn-Min-Version", 0, null)]
    [InlineData("GET /v1/sessions/{session}/state", "version", 1, null)]
    [InlineData("GET /v1/sessions/{session}/snapshots/{version}", "version", 1, null)]
    [InlineData("POST /v1/sessions/{session}/sync/{group}/train-step", "rank", 0, 1023)]
    [InlineData("POST /v1/sessions/{session}/sync/{group}/backward", "world_size", 1, 1024)]
    public void Whole_numbers_in_paths_queries_and_headers_are_integers(string operation, string name, int least, int? most)
    {
        var parameter = ApiDocument.CheckedIn.Operations.Single(known => $"{known.Method} {known.Template}" == operation).Element.GetProperty("parameters")
            .EnumerateArray().Single(known => known.GetProperty("name").ValueEquals(name));
        var schema = parameter.GetProperty("schema");
        Assert.Equal("integer", schema.GetProperty("type").GetString());
        Assert.Equal(least, schema.GetProperty("minimum").GetInt32());
        Assert.Equal(most, schema.TryGetProperty("maximum", out var maximum) ? maximum.GetInt32() : null);
    }

    [Theory]
    [InlineData("/v1/sessions?limit=ten", "limit must be a whole number from 1 to 1000, got 'ten'")]
    [InlineData("/v1/sessions?limit=1001", "limit must be a whole number from 1 to 1000, got '1001'")]
    [InlineData("/v1/sessions?limit=1.5", "limit must be a whole number from 1 to 1000, got '1.5'")]
    public async Task What_is_no_such_number_is_refused_in_words(string path, string detail) =>
        (await service.Client.GetAsync(path)).ExpectProblem("invalid-option", detail);

    [Fact]
    public async Task The_document_is_served_small_and_smaller_where_compression_is_asked_for()
    {
        var whole = (await service.Client.GetAsync("/openapi/v1.json")).Expect(200);
        Assert.Null(whole.Headers.GetValueOrDefault("Content-Encoding"));
        Assert.InRange(whole.Body.Length, 1, LargestDocument);
        foreach (var coding in (string[])["gzip", "br"])
        {
            var answer = await service.Unchecked.GetAsync("/openapi/v1.json", ("Accept-Encoding", coding));
            Assert.Equal(coding, answer.Expect(200).Headers["Content-Encoding"]);
            Assert.InRange(answer.Body.Length, 1, LargestDocument / 4);
            using var packed = new MemoryStream(answer.Body);
            using Stream unpacking = coding == "gzip" ? new GZipStream(packed, CompressionMode.Decompress) : new BrotliStream(packed, CompressionMode.Decompress);
            using var unpacked = new MemoryStream();
            await unpacking.CopyToAsync(unpacked);
            Assert.Equal(whole.Body, unpacked.ToArray());
        }
    }

    [Fact]
    public async Task The_document_of_JSON_alone_has_one_media_type_for_each_body()
    {
        var whole = (await service.Client.GetAsync("/openapi/v1.json")).Expect(200);
        var json = (await service.Client.GetAsync("/openapi/v1.json?forms=json")).Expect(200);
        var contents = Everywhere(json.Json, "#").Where(found => found.Schema.TryGetProperty("content", out _)).ToList();
        Assert.NotEmpty(contents);
        Assert.All(contents, found => Assert.Single(found.Schema.GetProperty("content").EnumerateObject()));
        Assert.DoesNotContain("format\":\"binary", json.Text, StringComparison.Ordinal);
        Assert.Contains("format\":\"binary", whole.Text, StringComparison.Ordinal);
        Assert.True(JsonElement.DeepEquals(whole["components"], json["components"]));
        Assert.Equal(whole["paths"].EnumerateObject().Select(path => path.Name), json["paths"].EnumerateObject().Select(path => path.Name));
    }

    [Fact]
    public async Task Other_forms_of_the_document_are_refused() =>
        (await service.Client.GetAsync("/openapi/v1.json?forms=yaml")).ExpectProblem("invalid-option", "forms must be json, or absent for all forms, got 'yaml'");

    [Fact]
    public void Problems_are_in_the_document_once()
    {
        var operations = ApiDocument.CheckedIn.Root.GetProperty("paths").EnumerateObject().SelectMany(path => path.Value.EnumerateObject());
        var problems = operations.SelectMany(operation => operation.Value.GetProperty("responses").EnumerateObject()).Where(response => response.Name[0] is '4' or '5').ToList();
        Assert.NotEmpty(problems);
        Assert.All(problems, problem => Assert.StartsWith("#/components/responses/", problem.Value.GetProperty("$ref").GetString(), StringComparison.Ordinal));
    }

    private static IEnumerable<(string Path, JsonElement Schema)> Everywhere(JsonElement element, string path)
    {
        // An example is a value and no schema.
        if (element.ValueKind == JsonValueKind.Object) yield return (path, element);
        var children = element.ValueKind switch
        {
            JsonValueKind.Object => element.EnumerateObject().Where(member => member.Name != "example").Select(member => (member.Name, member.Value)),
            JsonValueKind.Array => element.EnumerateArray().Select((item, index) => ($"{index}", item)),
            _ => [],
        };
        foreach (var (name, child) in children)
        {
            foreach (var found in Everywhere(child, $"{path}/{name}")) yield return found;
        }
    }
}
