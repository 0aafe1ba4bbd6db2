using BnService.Api.Contracts;
using BnService.Core.Layers;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>The OpenAPI document of the service and the pages that show it.</summary>
internal static class ServiceDocument
{
    /// <summary>Name of the document.</summary>
    public const string Name = "v1";

    /// <summary>Registers the document.</summary>
    public static void AddServiceDocument(this IServiceCollection services) =>
        services.AddSingleton<DocumentEndpoint>().AddOpenApi(Name, options =>
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
        // Tensors are one thing to clients, wherever their elements come from, and a padding or a mask is an array like others.
        options.CreateSchemaReferenceId = type => type.Type == typeof(TensorSource) ? nameof(Tensor)
            : type.Type == typeof(Padding) || type.Type == typeof(BatchMask) ? null
            : OpenApiOptions.CreateDefaultSchemaReferenceId(type);
        options.AddDocumentTransformer(Introduce);
        options.AddOperationTransformer<OperationTransformer>();
        options.AddSchemaTransformer(DescribeTensors);
        options.AddSchemaTransformer(DescribeNumbers);
        options.AddSchemaTransformer(DescribePadding);
        options.AddSchemaTransformer(DescribeMask);
    });

    /// <summary>Maps <c>/openapi/v1.json</c> and Swagger UI at <c>/swagger</c>.</summary>
    public static void MapServiceDocument(this WebApplication app)
    {
        DocumentEndpoint.Map(app, $"/openapi/{Name}.json");
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
                "A tensor is `{\"shape\":[2,2],\"data\":[1,2,3,4]}` with `data` flat in row-major order; requests may have nested arrays " +
                    "instead. " +
                "In arrays of numbers, NaN and infinities travel as the strings `\"NaN\"`, `\"Infinity\"` and `\"-Infinity\"`. " +
                "In requests, null is as if the field were absent, except where a field says what null means; words such as `batch_norm` " +
                    "are read in any case. " +
                "Every error is an RFC 9457 problem; an answer that is not 2xx has changed nothing. " +
                "A call with a tensor in JSON looks for the session first: malformed JSON for one that does not exist is 404.\n\n" +
                "Some calls also read and write `application/x-safetensors`: tensors under the names of the fields (F32, F64, F16, BF16, " +
                    "I8 to I64, U8 to U64 " +
                "or BOOL), other fields as texts under `__metadata__`, objects as JSON; and `application/x-npy`: one array as numpy.save " +
                    "writes it, " +
                "versions 1.0 to 3.0, floats (f2, f4, f8), whole numbers (i1 to i8, u1 to u8) or b1, little- or big-endian, in C or " +
                    "Fortran order, " +
                "with other fields as query parameters of the same names, and as headers of the answer. " +
                "`/openapi/v1.json?forms=json` is this document with JSON alone.\n\n" +
                "Calls need an API key as soon as there is one; the role that a call needs at least stands with it: `reader`, `trainer`, " +
                    "`admin`.",
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
        PlainSchemas.Simplify(document);
        return Task.CompletedTask;
    }

    private static Task DescribeTensors(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        if (!context.JsonTypeInfo.Type.IsAssignableTo(typeof(TensorSource))) return Task.CompletedTask;
        schema.Type = JsonSchemaType.Object;
        schema.Description = "A tensor in row-major order. Requests may also have nested arrays of numbers in its place, such as " +
            "[[1,2],[3,4]], whose shape is inferred.";
        schema.Properties = new Dictionary<string, IOpenApiSchema>
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
                Description = "The elements, outermost dimension first; as many as the product of the dimensions.",
                Items = new OpenApiSchema { Type = JsonSchemaType.Number },
            },
        };
        schema.Required = new HashSet<string> { "shape", "data" };
        schema.AdditionalPropertiesAllowed = false;
        return Task.CompletedTask;
    }

    // The serializer's schema of a number has the three strings as an alternative, for which generators know no type: the introduction
    // names them.
    private static Task DescribeNumbers(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        var type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type;
        if (type != typeof(double)) return Task.CompletedTask;
        schema.AnyOf = null;
        schema.Type = JsonSchemaType.Number | (type == context.JsonTypeInfo.Type ? 0 : JsonSchemaType.Null);
        return Task.CompletedTask;
    }

    private static Task DescribePadding(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        if (context.JsonTypeInfo.Type != typeof(Padding)) return Task.CompletedTask;
        (schema.Type, schema.Items) = (JsonSchemaType.Array,
            new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int32", Minimum = "0" });
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
}
