using System.Text.Json.Nodes;
using BnService.Api.Contracts;
using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Storage;
using BnService.Api.Wire;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>Writes into each operation what the route table says of it: problems by status, parameters, headers and examples.</summary>
internal sealed class OperationTransformer : IOpenApiOperationTransformer
{
    public async Task TransformAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context,
        CancellationToken cancellationToken)
    {
        // The description is the handler's comment, in which a line break is a space.
        operation.Description = operation.Description?.ReplaceLineEndings(" ");
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        var problem = await ProblemSchemaAsync(context, cancellationToken);
        var codes = metadata.OfType<ProblemMetadata>().SelectMany(item => item.Codes).Append(ProblemCode.BadRequest)
            .Append(ProblemCode.InternalError);
        if (operation.Tags?.Any(tag => tag.Name == "Health") != true) codes = codes.Append(ProblemCode.Overloaded)
            .Append(ProblemCode.TooManyRequests).Append(ProblemCode.MisdirectedRequest);
        if (context.Description.HttpMethod is not "GET") codes = codes.Append(ProblemCode.ForeignOrigin);
        foreach (var status in codes.Distinct().GroupBy(code => code.Status).OrderBy(group => group.Key))
            operation.Responses![$"{status.Key}"] = SharedDocument.Problems(context.Document!, [.. status], problem);
        if ((metadata.OfType<Access>().LastOrDefault() ?? Access.Default).Least is { } role) operation.Require(role, context.Document!);
        foreach (var parameter in operation.Parameters?.OfType<OpenApiParameter>() ?? []) KnownParameters.Describe(
            parameter, operation.OperationId!);
        if (metadata.OfType<ChangesStateMetadata>().Any())
            AddHeader(operation, "If-Match", JsonSchemaType.String,
                "Entity tags of the versions that the call may change; any version where absent.");
        if (metadata.OfType<RemembersAnswerMetadata>().Any())
        {
            AddHeader(operation, IdempotencyKey.Header, JsonSchemaType.String,
                $"Names the request, in 1 to {IdempotencyKey.Longest} visible ASCII characters: when it comes again it changes nothing " +
                $"and is answered as the first time. The last {StoredAnswer.Kept} keys of a session are remembered.");
        }
        if (metadata.OfType<ReadsRecentMetadata>().Any())
            AddHeader(operation, MinVersion.Header, JsonSchemaType.Integer,
                "The least version of the state that will do, as a train-step or a PUT has answered it: this node waits for it where it " +
                "has an older one.");
        if (metadata.OfType<ReadableForms>().LastOrDefault() is { } readable) DescribeForms(
            operation.RequestBody!.Content!, readable.MediaTypes);
        if (operation.RequestBody?.Content?[MediaTypes.Json] is { } body
            && RequestExamples.ByOperation.TryGetValue(operation.OperationId!, out var example))
            body.Example = JsonNode.Parse(example);
        foreach (var success in operation.Responses!.Where(response => response.Key.StartsWith('2') && response.Value.Content?.Count > 0))
            DescribeForms(success.Value.Content!, metadata.OfType<WritableForms>().Last().MediaTypes);
        DescribeSuccess(operation, metadata.OfType<RemembersAnswerMetadata>().Any(), context.Document!);
        SharedDocument.Parameters(context.Document!, operation);
    }

    // The schema is that of the JSON form, whatever media type it was found under, and of the data of events; the binary forms have none.
    private static void DescribeForms(IDictionary<string, OpenApiMediaType> content, IReadOnlyList<string> forms)
    {
        var json = content.Values.Single();
        content.Clear();
        foreach (var form in forms)
        {
            content[form] = form is MediaTypes.Json or MediaTypes.EventStream ? json : new OpenApiMediaType
            {
                Schema = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" },
            };
        }
    }

    private static async Task<IOpenApiSchema> ProblemSchemaAsync(
        OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        var schema = await context.GetOrCreateSchemaAsync(typeof(Problem), null, cancellationToken);
        context.Document!.AddComponent(nameof(Problem), schema);
        return new OpenApiSchemaReference(nameof(Problem), context.Document);
    }

    private static void AddHeader(OpenApiOperation operation, string name, JsonSchemaType type, string description)
    {
        operation.Parameters ??= [];
        operation.Parameters.Add(new OpenApiParameter
        {
            Name = name,
            In = ParameterLocation.Header,
            Description = description,
            Schema = type == JsonSchemaType.Integer ? KnownParameters.Integer(0, null) : new OpenApiSchema { Type = type },
        });
    }

    private static void DescribeSuccess(OpenApiOperation operation, bool isRemembered, OpenApiDocument document)
    {
        IOpenApiHeader Header(string name, string description, bool isRequired)
        {
            document.AddComponent<IOpenApiHeader>(name, new OpenApiHeader
            {
                Description = description,
                Required = isRequired,
                Schema = new OpenApiSchema { Type = JsonSchemaType.String },
            });
            return new OpenApiHeaderReference(name, document);
        }

        foreach (var (status, response) in operation.Responses!)
        {
            if (!status.StartsWith('2') || response is not OpenApiResponse success) continue;
            success.Description = status switch { "201" => "Created.", "204" => "Done.", _ => "The answer." };
            if (operation.Tags?.Any(tag => tag.Name == "Health") == true
                || operation.OperationId is "ListSessions" or "Normalize" or "GetActivity" or "GetEvents"
                || operation.Tags?.Any(tag => tag.Name == "Keys") == true || status == "204") continue;
            success.Headers = new Dictionary<string, IOpenApiHeader>
            {
                ["ETag"] = Header("ETag", "Version of the session's state, in quotes.", isRequired: true),
            };
            if (isRemembered)
            {
                success.Headers.Add(IdempotencyKey.ReplayedHeader,
                    Header("IdempotentReplayed", "true where the request was answered before and has changed nothing now.",
                        isRequired: false));
            }
            if (status == "201") success.Headers.Add("Location", Header("Location", "Path of what was created.", isRequired: true));
        }
    }
}

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
            [.. new[] { Bearer, ApiKey }.Select(scheme => new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(
                scheme, document)] = [] })];
        // OpenAPI 3.1 has a place for roles in the requirement, which tools take for scopes of OAuth that are missing.
        operation.Description += $" Needs the role `{least.WireName}`.";
    }
}
