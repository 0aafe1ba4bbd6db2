using BnService.Api.Hosting.Auth;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>The two headers that a key may come in, as the document knows them.</summary>
internal static class KeySchemes
{
    /// <summary>Name of the scheme of the header <c>Authorization</c>.</summary>
    public const string Bearer = "bearer";

    /// <summary>Name of the scheme of the header <c>X-Api-Key</c>.</summary>
    public const string ApiKey = "apiKey";

    /// <summary>The scheme of the header <c>Authorization</c>.</summary>
    public static OpenApiSecurityScheme InAuthorization => new()
    {
        Type = SecuritySchemeType.Http,
        Scheme = "bearer",
        BearerFormat = "bn_<id>_<secret>",
        Description = "A key in the header Authorization: Bearer <key>.",
    };

    /// <summary>The scheme of the header <c>X-Api-Key</c>.</summary>
    public static OpenApiSecurityScheme InHeader => new()
    {
        Type = SecuritySchemeType.ApiKey,
        In = ParameterLocation.Header,
        Name = ApiKeys.Header,
        Description = "A key in a header of its own, where Authorization is not to be had.",
    };

    /// <summary>Says of an operation that it needs a key of a role in either header.</summary>
    public static void Require(this OpenApiOperation operation, Role least, OpenApiDocument document)
    {
        operation.Security =
            [.. new[] { Bearer, ApiKey }.Select(scheme => new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(scheme, document)] = [] })];
        // OpenAPI 3.1 has a place for roles in the requirement, which tools take for scopes of OAuth that are missing.
        operation.Description += $" Needs the role `{least.WireName}`.";
    }
}
