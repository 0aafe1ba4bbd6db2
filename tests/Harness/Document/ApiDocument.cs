using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace BnService.Harness;

/// <summary>The OpenAPI document, as far as the tests read it.</summary>
public sealed class ApiDocument
{
    /// <summary>How the file is renewed.</summary>
    public const string Renewal = "BN_WRITE_OPENAPI=1 dotnet test tests/Api.Tests --filter OpenApi";

    private static readonly Lazy<ApiDocument> Checked = new(ReadFile);
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private static readonly string[] Methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

    private readonly ConcurrentDictionary<string, JsonElement> _resolved = new();

    private ApiDocument(string json)
    {
        using var document = JsonDocument.Parse(json);
        Root = document.RootElement.Clone();
        Operations =
        [
            .. from path in Root.GetProperty("paths").EnumerateObject()
               from member in path.Value.EnumerateObject()
               where Methods.Contains(member.Name)
               select new ApiOperation(this, member.Name.ToUpperInvariant(), path.Name, WithoutReferences(member.Value)),
        ];
    }

    /// <summary>The document in the repository; a test makes sure that it is the one that the service serves.</summary>
    public static ApiDocument CheckedIn => Checked.Value;

    public JsonElement Root { get; }

    /// <summary>All operations, in the order of the document.</summary>
    public IReadOnlyList<ApiOperation> Operations { get; }

    /// <summary>References to all schemas.</summary>
    public IEnumerable<string> Schemas => Root.GetProperty("components").GetProperty("schemas").EnumerateObject().Select(schema => $"#/components/schemas/{schema.Name}");

    /// <summary>The operation of a request; null where the document has none.</summary>
    public ApiOperation? Find(string method, string path) => Operations.FirstOrDefault(operation => operation.Matches(method, path));

    // Parameters and responses that operations share are looked at as if each had its own.
    private JsonElement WithoutReferences(JsonElement operation)
    {
        var whole = JsonNode.Parse(operation.GetRawText())!;
        foreach (var part in (string[])["parameters", "responses"])
        {
            if (whole[part] is JsonArray items)
                for (var i = 0; i < items.Count; i++) items[i] = Target(items[i]!);
            else
                Replace(whole[part] as JsonObject);
        }
        foreach (var (_, response) in whole["responses"]!.AsObject()) Replace(response!["headers"] as JsonObject);
        return JsonSerializer.SerializeToElement(whole);

        void Replace(JsonObject? members)
        {
            foreach (var name in members?.Select(member => member.Key).ToList() ?? []) members![name] = Target(members[name]!);
        }

        JsonNode? Target(JsonNode node) =>
            node["$ref"] is { } reference ? JsonNode.Parse(Resolve(reference.GetValue<string>()).GetRawText()) : node.DeepClone();
    }

    private static ApiDocument ReadFile()
    {
        var file = Repository.DocumentFile;
        if (Environment.GetEnvironmentVariable("BN_WRITE_OPENAPI") == "1")
        {
            using var served = JsonDocument.Parse(Service.ServedDocument());
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, JsonSerializer.Serialize(served, Readable) + "\n");
        }
        Assert.True(File.Exists(file), $"{file} is missing; write it with: {Renewal}");
        return new ApiDocument(File.ReadAllText(file));
    }

    /// <summary>What a reference within the document points to; a schema that adds fields to another one's with all of them.</summary>
    public JsonElement Resolve(string reference) => _resolved.GetOrAdd(reference, path =>
    {
        var found = path.TrimStart('#', '/').Split('/').Aggregate(Root, (element, name) => element.GetProperty(name));
        return found.TryGetProperty("allOf", out var parts) ? Merged(parts) : found;
    });

    private JsonElement Merged(JsonElement parts)
    {
        var (properties, required) = (new JsonObject(), new JsonArray());
        foreach (var part in parts.EnumerateArray().Select(part => part.TryGetProperty("$ref", out var reference) ? Resolve(reference.GetString()!) : part))
        {
            foreach (var property in part.GetProperty("properties").EnumerateObject()) properties.Add(property.Name, JsonNode.Parse(property.Value.GetRawText()));
            if (part.TryGetProperty("required", out var names)) foreach (var name in names.EnumerateArray()) required.Add(name.GetString());
        }
        return JsonSerializer.SerializeToElement(new JsonObject { ["type"] = "object", ["properties"] = properties, ["required"] = required });
    }
}

/// <summary>One operation of the document.</summary>
public sealed class ApiOperation(ApiDocument document, string method, string template, JsonElement element)
{
    // Routing ignores case and a slash at the end.
    private readonly Regex _path = new($"^{Regex.Replace(template, @"\{\w+\}", "[^/]+")}/?$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant);

    public string Method => method;

    public string Template => template;

    public JsonElement Element => element;

    public string Id => element.GetProperty("operationId").GetString()!;

    public bool Matches(string requestMethod, string path) => requestMethod == method && _path.IsMatch(path);

    /// <summary>Holds an answer against what the document says of the operation.</summary>
    public void Check(Answer answer, string what)
    {
        var status = answer.Status.ToString(CultureInfo.InvariantCulture);
        Assert.True(element.GetProperty("responses").TryGetProperty(status, out var response), $"the document of {Id} does not know status {what}");
        if (!response.TryGetProperty("content", out var content))
        {
            Assert.True(answer.Body.Length == 0, $"the document of {Id} knows no body: {what}");
            return;
        }
        Assert.True(content.TryGetProperty(answer.ContentType ?? "", out var form), $"the document of {Id} does not know {answer.ContentType}: {what}");
        if (answer.Json.ValueKind != JsonValueKind.Undefined) new SchemaCheck(document, what).Check(answer.Json, form.GetProperty("schema"), Id);
        foreach (var header in response.TryGetProperty("headers", out var headers) ? headers.EnumerateObject() : default)
            Assert.True(answer.Headers.ContainsKey(header.Name) || !header.Value.TryGetProperty("required", out _), $"the document of {Id} promises the header {header.Name}: {what}");
    }
}
