using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Wire;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>
/// Serves the OpenAPI document without white space, made once. <c>?forms=json</c> leaves out the binary forms of bodies: generators that
/// type an answer as one of all its forms then have one.
/// </summary>
internal sealed class DocumentEndpoint(IServiceProvider services)
{
    private readonly Lazy<Task<(byte[] Whole, byte[] Json)>> _documents = new(() => WriteAsync(services));

    /// <summary>Maps the call.</summary>
    /// <param name="routes">The routes.</param>
    /// <param name="path">Its path.</param>
    public static void Map(IEndpointRouteBuilder routes, string path) =>
        routes.MapGet(path, async (string? forms, DocumentEndpoint endpoint) =>
            Results.Bytes(await endpoint.OfAsync(forms), MediaTypes.Json))
            .NeedsNoKey().ExcludeFromDescription().WithMetadata(new CompressedAnswerAttribute());

    private async Task<byte[]> OfAsync(string? forms)
    {
        if (forms is not (null or "json"))
            throw new ProblemException(ProblemCode.InvalidOption,
                $"forms must be json, or absent for all forms, got '{Excerpt.Of(forms)}'");
        var (whole, json) = await _documents.Value;
        return forms is null ? whole : json;
    }

    private static async Task<(byte[] Whole, byte[] Json)> WriteAsync(IServiceProvider services)
    {
        var document = await services.GetRequiredKeyedService<IOpenApiDocumentProvider>(ServiceDocument.Name).GetOpenApiDocumentAsync();
        var root = JsonNode.Parse(await document.SerializeAsJsonAsync(OpenApiSpecVersion.OpenApi3_1))!;
        var whole = Bytes(root);
        LeaveJson(root);
        return (whole, Bytes(root));
    }

    private static byte[] Bytes(JsonNode document)
    {
        var bytes = new ArrayBufferWriter<byte>();
        var options = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (var writer = new Utf8JsonWriter(bytes, options)) document.WriteTo(writer);
        return bytes.WrittenSpan.ToArray();
    }

    // Where there is JSON, it is left alone.
    private static void LeaveJson(JsonNode? node)
    {
        if (node is JsonArray items)
        {
            foreach (var item in items) LeaveJson(item);
        }
        if (node is not JsonObject members) return;
        if (members["content"] is JsonObject content && content.ContainsKey(MediaTypes.Json))
        {
            foreach (var form in content.Select(entry => entry.Key).Where(form => form != MediaTypes.Json).ToList()) content.Remove(form);
        }
        foreach (var (_, member) in members) LeaveJson(member);
    }
}
