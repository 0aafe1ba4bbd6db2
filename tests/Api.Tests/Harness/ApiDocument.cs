using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace BnService.Api.Tests.Harness;

/// <summary>The OpenAPI document, as far as the tests read it.</summary>
public sealed class ApiDocument
{
    /// <summary>How the file is renewed.</summary>
    public const string Renewal = "BN_WRITE_OPENAPI=1 dotnet test tests/Api.Tests --filter OpenApi";

    private static readonly Lazy<ApiDocument> Checked = new(ReadFile);
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private static readonly string[] Methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

    private ApiDocument(string json)
    {
        using var document = JsonDocument.Parse(json);
        Root = document.RootElement.Clone();
        Operations =
        [
            .. from path in Root.GetProperty("paths").EnumerateObject()
               from member in path.Value.EnumerateObject()
               where Methods.Contains(member.Name)
               select new ApiOperation(this, member.Name.ToUpperInvariant(), path.Name, member.Value),
        ];
    }

    /// <summary>The document in the repository; a test makes sure that it is the one that the service serves.</summary>
    public static ApiDocument CheckedIn => Checked.Value;

    public JsonElement Root { get; }

    /// <summary>All operations, in the order of the document.</summary>
    public IReadOnlyList<ApiOperation> Operations { get; }

    /// <summary>The operation of a request; null where the document has none.</summary>
    public ApiOperation? Find(string method, string path) => Operations.FirstOrDefault(operation => operation.Matches(method, path));

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

    /// <summary>What a reference within the document points to.</summary>
    public JsonElement Resolve(string reference) =>
        reference.TrimStart('#', '/').Split('/').Aggregate(Root, (element, name) => element.GetProperty(name));
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
