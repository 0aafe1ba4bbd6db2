using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Wire;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>Parts of the document that many operations have: each is in it once, and operations refer to it.</summary>
internal static class SharedDocument
{
    private static readonly Dictionary<string, string> SharedParameters = new()
    {
        ["session"] = "Session",
        ["If-Match"] = "IfMatch",
        [IdempotencyKey.Header] = "IdempotencyKey",
    };

    /// <summary>The answer that tells of some problems with one status.</summary>
    public static OpenApiResponseReference Problems(OpenApiDocument document, IReadOnlyList<ProblemCode> codes, IOpenApiSchema schema)
    {
        var sorted = codes.OrderBy(code => code.Code, StringComparer.Ordinal).ToList();
        var name = string.Join("Or", sorted.Select(code => NameOf(code.Code)));
        document.AddComponent<IOpenApiResponse>(name, new OpenApiResponse
        {
            Description = string.Join(" ", sorted.Select(code => $"`{code.Code}`: {code.Meaning}")),
            Content = new Dictionary<string, OpenApiMediaType> { [MediaTypes.ProblemJson] = new OpenApiMediaType { Schema = schema } },
        });
        return new OpenApiResponseReference(name, document);
    }

    /// <summary>Replaces an operation's parameters that others have as well by references to them.</summary>
    public static void Parameters(OpenApiDocument document, OpenApiOperation operation)
    {
        for (var i = 0; i < operation.Parameters?.Count; i++)
        {
            if (!SharedParameters.TryGetValue(operation.Parameters[i].Name!, out var name)) continue;
            document.AddComponent(name, operation.Parameters[i]);
            operation.Parameters[i] = new OpenApiParameterReference(name, document);
        }
    }

    // step-expired becomes StepExpired.
    private static string NameOf(string code) => string.Concat(code.Split('-').Select(word => char.ToUpperInvariant(word[0]) + word[1..]));
}
