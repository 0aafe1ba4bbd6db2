using System.Text.Json.Nodes;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Core.Layers;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>The OpenAPI document of the service and the pages that show it.</summary>
internal static class ServiceDocument
{
    private const string Name = "v1";

    /// <summary>Registers the document.</summary>
    public static void AddServiceDocument(this IServiceCollection services) => services.AddOpenApi(Name, options =>
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
        // Tensors are one thing to clients, wherever their elements come from.
        options.CreateSchemaReferenceId = type => type.Type == typeof(TensorSource) ? nameof(Tensor) : type.Type == typeof(BatchMask) ? null : OpenApiOptions.CreateDefaultSchemaReferenceId(type);
        options.AddDocumentTransformer(Introduce);
        options.AddOperationTransformer<OperationTransformer>();
        options.AddSchemaTransformer(DescribeTensors);
        options.AddSchemaTransformer(DescribeNumbers);
        options.AddSchemaTransformer(DescribeAbsence);
        options.AddSchemaTransformer(DescribePadding);
        options.AddSchemaTransformer(DescribeMask);
    });

    /// <summary>Maps <c>/openapi/v1.json</c> and Swagger UI at <c>/swagger</c>.</summary>
    public static void MapServiceDocument(this WebApplication app)
    {
        app.MapOpenApi($"/openapi/{Name}.json").NeedsNoKey();
        app.UseSwaggerUI(page =>
        {
            page.SwaggerEndpoint($"/openapi/{Name}.json", "BnService");
            page.DocumentTitle = "BnService";
            page.DisplayOperationId();
            page.DisplayRequestDuration();
        });
    }

    private static Task Introduce(OpenApiDocument document, OpenApiDocumentTransformerContext context, CancellationToken cancellationToken)
    {
        document.Info = new OpenApiInfo
        {
            Title = "BnService",
            Version = Name,
            Description =
                "Normalization layers as a web service. A session holds a layer: gamma, beta, running mean and running variance. " +
                "Services train it batch by batch (train-step, backward), serve from it (inference) and watch it (stats).\n\n" +
                "A tensor is `{\"shape\":[2,2],\"data\":[1,2,3,4]}` with `data` flat in row-major order, or nested arrays. " +
                "`\"NaN\"`, `\"Infinity\"` and `\"-Infinity\"` travel as strings. Every error is an RFC 9457 problem; " +
                "an answer that is not 2xx has changed nothing.\n\n" +
                "Calls need an API key as soon as there is one; the role that a call needs at least stands with it: `reader`, `trainer`, `admin`.",
            Contact = new OpenApiContact { Name = "The BnService authors" },
        };
        document.Servers = [new OpenApiServer { Url = "/", Description = "This service" }];
        document.Tags = new HashSet<OpenApiTag>
        {
            new() { Name = "Sessions", Description = "Create, find, change and delete sessions" },
            new() { Name = "Layer", Description = "Train, infer, differentiate" },
            new() { Name = "Statistics", Description = "Read and set statistics and parameters" },
            new() { Name = "Calibration", Description = "Exact statistics of a data set: gather, merge, commit" },
            new() { Name = "Snapshots", Description = "States frozen under their versions, for inference while training goes on" },
            new() { Name = "Synchronized", Description = "Batches whose parts lie with several ranks" },
            new() { Name = "Diagnostics", Description = "What the state and the traffic of a session say of each other" },
            new() { Name = "Keys", Description = "Who may do what: keys of callers" },
            new() { Name = "Health", Description = "Probes for operators" },
        };
        document.AddComponent(KeySchemes.Bearer, KeySchemes.InAuthorization);
        document.AddComponent(KeySchemes.ApiKey, KeySchemes.InHeader);
        return Task.CompletedTask;
    }

    private static Task DescribeTensors(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        if (!context.JsonTypeInfo.Type.IsAssignableTo(typeof(TensorSource))) return Task.CompletedTask;
        schema.Type = null;
        schema.Properties?.Clear();
        schema.Required?.Clear();
        schema.OneOf =
        [
            new OpenApiSchema
            {
                Type = JsonSchemaType.Object,
                Description = "The form of every answer.",
                Properties = new Dictionary<string, IOpenApiSchema>
                {
                    ["shape"] = new OpenApiSchema
                    {
                        Type = JsonSchemaType.Array,
                        Description = "The dimensions, outermost first.",
                        Items = new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int32", Minimum = "0" },
                        MaxItems = Shape.MaxRank,
                    },
                    ["data"] = new OpenApiSchema
                    {
                        Type = JsonSchemaType.Array,
                        Description = "The elements in row-major order; as many as the product of the dimensions.",
                        Items = Element("float"),
                    },
                },
                Required = new HashSet<string> { "shape", "data" },
                AdditionalPropertiesAllowed = false,
            },
            new OpenApiSchema
            {
                Type = JsonSchemaType.Array,
                Description = "Nested arrays of equal lengths; the shape is inferred.",
                Items = new OpenApiSchema(),
            },
        ];
        schema.Description = "A float32 tensor, row-major.";
        return Task.CompletedTask;
    }

    // A single number of the contract is finite; an element of an array may be one of the three strings.
    private static Task DescribeNumbers(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        var type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type;
        if (type != typeof(double)) return Task.CompletedTask;
        schema.AnyOf = null;
        if (context.JsonPropertyInfo is not null)
        {
            schema.Type = JsonSchemaType.Number | (type == context.JsonTypeInfo.Type ? 0 : JsonSchemaType.Null);
            return Task.CompletedTask;
        }
        (schema.Type, schema.Format, schema.OneOf) = (null, null, Element("double").OneOf);
        return Task.CompletedTask;
    }

    // What may be left out is not therefore null.
    private static Task DescribeAbsence(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        if (context.JsonPropertyInfo?.AttributeProvider?.IsDefined(typeof(NullIsAbsentAttribute), inherit: true) == true) schema.Type &= ~JsonSchemaType.Null;
        return Task.CompletedTask;
    }

    private static Task DescribePadding(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        if (context.JsonTypeInfo.Type != typeof(Padding)) return Task.CompletedTask;
        var number = new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int32", Minimum = "0" };
        schema.OneOf = [number, new OpenApiSchema { Type = JsonSchemaType.Array, Items = number }];
        return Task.CompletedTask;
    }

    // The plain form; the others are told in words.
    private static Task DescribeMask(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        if (context.JsonTypeInfo.Type != typeof(BatchMask)) return Task.CompletedTask;
        schema.Type = JsonSchemaType.Array | JsonSchemaType.Null;
        schema.Items = new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int32", Minimum = "0", Maximum = "1" };
        return Task.CompletedTask;
    }

    private static OpenApiSchema Element(string format) => new()
    {
        OneOf =
        [
            new OpenApiSchema { Type = JsonSchemaType.Number, Format = format },
            new OpenApiSchema { Type = JsonSchemaType.String, Enum = [JsonValue.Create("NaN"), JsonValue.Create("Infinity"), JsonValue.Create("-Infinity")] },
        ],
    };
}
