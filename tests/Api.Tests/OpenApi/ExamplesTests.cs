using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace BnService.Api.Tests.OpenApi;

public sealed class ExamplesTests
{
    /// <summary>
    /// As somebody does who opens the document and tries one call after the other; and as clients do that write null for every field that has
    /// not been set.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task All_examples_work_in_the_order_of_the_document_with_or_without_null_for_what_they_leave_out(bool withNulls)
    {
        using var service = new Service();
        // Deleting is tried last, as one would, and the session after its parts: after it there is nothing to try anything with.
        // Events do not end, so that an answer could be looked at; they have tests of their own.
        var operations = ApiDocument.CheckedIn.Operations.Where(operation => operation.Id is not ("GetEvents" or "GetActivity"))
            .OrderBy(operation => operation.Method == "DELETE" ? 1000 - operation.Template.Length : 0).ToList();
        Assert.NotEmpty(operations);
        // From the first key on each call needs one.
        var admin = (await service.Client.PostAsync("/v1/keys", """{"name":"first","role":"admin","i_will_keep_the_key":true}""")).Expect(201)["key"].GetString()!;
        var id = "";
        foreach (var operation in operations)
        {
            // A key's id is nobody's choice, so that no example could know it.
            var path = operation.Template.StartsWith("/v1/keys/", StringComparison.Ordinal) ? operation.Template.Replace("{id}", id, StringComparison.Ordinal) : PathOf(operation);
            var answer = await service.Client.SendAsync(new HttpMethod(operation.Method), path, BodyOf(operation, withNulls), ("Authorization", $"Bearer {admin}"));
            Assert.True(answer.Status is >= 200 and < 300, $"{operation.Id} answered {answer.Status}: {answer.Text}");
            if (operation.Id == "CreateKey") id = answer["id"].GetString()!;
        }
    }

    // The examples of the path's parameters and of those in the query that have one.
    private static string PathOf(ApiOperation operation)
    {
        var path = operation.Template;
        var query = new StringBuilder();
        if (!operation.Element.TryGetProperty("parameters", out var parameters)) return path;
        foreach (var parameter in parameters.EnumerateArray())
        {
            if (!parameter.TryGetProperty("example", out var example)) continue;
            var (name, value) = (parameter.GetProperty("name").GetString()!, Uri.EscapeDataString(example.ToString()));
            if (parameter.GetProperty("in").GetString() == "path") path = path.Replace($"{{{name}}}", value, StringComparison.Ordinal);
            else if (parameter.GetProperty("in").GetString() == "query") query.Append(query.Length == 0 ? '?' : '&').Append(name).Append('=').Append(value);
        }
        Assert.DoesNotContain('{', path);
        return path + query;
    }

    private static HttpContent? BodyOf(ApiOperation operation, bool withNulls)
    {
        if (!operation.Element.TryGetProperty("requestBody", out var body)) return null;
        var content = body.GetProperty("content").GetProperty("application/json");
        var example = JsonNode.Parse(content.GetProperty("example").GetRawText())!;
        if (withNulls) AddNulls(example, content.GetProperty("schema"));
        return ServiceClient.JsonContent(example.ToJsonString());
    }

    // For every field that is absent, at every depth.
    private static void AddNulls(JsonNode? value, JsonElement schema)
    {
        if (schema.TryGetProperty("oneOf", out var alternatives)) schema = alternatives[1];
        if (schema.TryGetProperty("$ref", out var reference)) schema = ApiDocument.CheckedIn.Resolve(reference.GetString()!);
        if (value is not JsonObject members || !schema.TryGetProperty("properties", out var properties)) return;
        foreach (var property in properties.EnumerateObject())
        {
            if (members.TryGetPropertyValue(property.Name, out var member)) AddNulls(member, property.Value);
            else members.Add(property.Name, null);
        }
    }
}
