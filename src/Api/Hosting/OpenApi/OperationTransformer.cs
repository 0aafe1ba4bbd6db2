using System.Text.Json.Nodes;
using BnService.Api.Contracts;
using BnService.Api.Endpoints;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Problems;
using BnService.Api.Storage;
using BnService.Api.Wire;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>Writes into each operation what the route table says of it: problems by status, parameters, headers and examples.</summary>
internal sealed class OperationTransformer : IOpenApiOperationTransformer
{
    private static readonly Dictionary<string, (string Description, JsonNode? Example)> Parameters = new()
    {
        ["session"] = ("Name or id of the session.", RequestExamples.SessionName),
        ["prefix"] = ("Beginning of the names to list.", RequestExamples.SessionName),
        ["kind"] = ("Kind of the sessions to list.", "batch_norm"),
        ["limit"] = ("The most sessions of a page, 1 to 1000; 50 where absent.", "50"),
        ["GetHistory.limit"] = ("The most steps to answer with, 1 to 1024; 100 where absent.", "100"),
        ["cursor"] = ("The next_cursor of the page before.", null),
        ["version"] = ("Version of a snapshot.", "8"),
        ["Inference.version"] = ("Version of a snapshot to infer with; the newest state where absent.", null),
        ["GetState.version"] = ("Version of a snapshot; the newest state where absent.", null),
        ["group"] = ("Name of the group of ranks, of the caller's choice.", "workers"),
        ["rank"] = ("This rank, from 0.", "0"),
        ["world_size"] = ("Number of ranks, the same for all.", "1"),
        ["id"] = ("Id of the key: the part of it between the two first underscores.", "3f9ac02e51b7d846"),
        ["search"] = ("Part of the names to list, in small or capital letters.", "resnet"),
        ["health"] = ("How the sessions to list are: healthy, settling, small_batches, drifting or dead_channels.", "drifting"),
        ["channel"] = ("Index of a statistic, of which each step says what it was there.", "0"),
        ["ListSessions.include"] = ("What to add, separated by commas: health, drift (the last ones of each session), total (of all pages).", "health,drift,total"),
        ["include"] = ("Names of the fields to answer with, separated by commas; all where absent.", "running_mean,running_var"),
    };

    /// <inheritdoc/>
    public async Task TransformAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        var problem = await ProblemSchemaAsync(context, cancellationToken);
        var codes = metadata.OfType<ProblemMetadata>().SelectMany(item => item.Codes).Append(ProblemCode.BadRequest).Append(ProblemCode.InternalError);
        if (operation.Tags?.Any(tag => tag.Name == "Health") != true) codes = codes.Append(ProblemCode.Overloaded).Append(ProblemCode.TooManyRequests);
        foreach (var status in codes.Distinct().GroupBy(code => code.Status).OrderBy(group => group.Key))
            operation.Responses![$"{status.Key}"] = ProblemResponse(status, problem);
        if ((metadata.OfType<Access>().LastOrDefault() ?? Access.Default).Least is { } role) operation.Require(role, context.Document!);
        foreach (var parameter in operation.Parameters ?? [])
        {
            // The same name can mean something else in one call.
            if (parameter is not OpenApiParameter known
                || !(Parameters.TryGetValue($"{operation.OperationId}.{parameter.Name}", out var text) || Parameters.TryGetValue(parameter.Name!, out text)))
            {
                continue;
            }
            (known.Description, known.Example) = (text.Description, text.Example?.DeepClone());
        }
        if (metadata.OfType<ChangesStateMetadata>().Any())
            AddHeader(operation, "If-Match", "Entity tags of the versions that the call may change; any version where absent.");
        if (metadata.OfType<RemembersAnswerMetadata>().Any())
        {
            AddHeader(operation, IdempotencyKey.Header, $"Names the request, in 1 to {IdempotencyKey.Longest} visible ASCII characters: when it comes again it changes nothing and is answered as the first time. The last {StoredAnswer.Kept} keys of a session are remembered.");
        }
        if (metadata.OfType<ReadsRecentMetadata>().Any())
            AddHeader(operation, MinVersion.Header, "The least version of the state that will do, as a train-step or a PUT has answered it: this node waits for it where it has an older one.");
        if (metadata.OfType<ReadableForms>().LastOrDefault() is { } readable) DescribeForms(operation.RequestBody!.Content!, readable.MediaTypes);
        if (operation.RequestBody?.Content?[MediaTypes.Json] is { } body && RequestExamples.ByOperation.TryGetValue(operation.OperationId!, out var example))
            body.Example = JsonNode.Parse(example);
        foreach (var success in operation.Responses!.Where(response => response.Key.StartsWith('2') && response.Value.Content?.Count > 0))
            DescribeForms(success.Value.Content!, metadata.OfType<WritableForms>().Last().MediaTypes);
        DescribeSuccess(operation, metadata.OfType<RemembersAnswerMetadata>().Any());
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
                Schema = new OpenApiSchema
                {
                    Type = JsonSchemaType.String,
                    Format = "binary",
                    Description = form == MediaTypes.Npy
                        ? "One array as numpy.save writes it, versions 1.0 to 3.0: floats (f2, f4, f8), whole numbers (i1 to i8, u1 to u8) or b1, " +
                          "little- or big-endian, in C or Fortran order. Other fields are query parameters of the same names, and headers of the answer."
                        : "Named tensors (safetensors) under the names of the fields: F32, F64, F16, BF16, I8 to I64, U8 to U64 or BOOL. " +
                          "Other fields are texts under __metadata__, objects as JSON.",
                },
            };
        }
    }

    private static async Task<IOpenApiSchema> ProblemSchemaAsync(OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        var schema = await context.GetOrCreateSchemaAsync(typeof(Problem), null, cancellationToken);
        context.Document!.AddComponent(nameof(Problem), schema);
        return new OpenApiSchemaReference(nameof(Problem), context.Document);
    }

    private static OpenApiResponse ProblemResponse(IEnumerable<ProblemCode> codes, IOpenApiSchema schema) => new()
    {
        Description = string.Join(" ", codes.OrderBy(code => code.Code, StringComparer.Ordinal).Select(code => $"`{code.Code}`: {code.Meaning}")),
        Content = new Dictionary<string, OpenApiMediaType> { [MediaTypes.ProblemJson] = new OpenApiMediaType { Schema = schema } },
    };

    private static void AddHeader(OpenApiOperation operation, string name, string description)
    {
        operation.Parameters ??= [];
        operation.Parameters.Add(new OpenApiParameter
        {
            Name = name,
            In = ParameterLocation.Header,
            Description = description,
            Schema = new OpenApiSchema { Type = JsonSchemaType.String },
        });
    }

    private static void DescribeSuccess(OpenApiOperation operation, bool isRemembered)
    {
        foreach (var (status, response) in operation.Responses!)
        {
            if (!status.StartsWith('2') || response is not OpenApiResponse success) continue;
            success.Description = status switch { "201" => "Created.", "204" => "Done.", _ => "The answer." };
            if (operation.Tags?.Any(tag => tag.Name == "Health") == true || operation.OperationId is "ListSessions" or "Normalize" or "GetActivity" or "GetEvents" || operation.Tags?.Any(tag => tag.Name == "Keys") == true || status == "204") continue;
            success.Headers = new Dictionary<string, IOpenApiHeader> { ["ETag"] = StringHeader("Version of the session's state, in quotes.", isRequired: true) };
            if (isRemembered) success.Headers.Add(IdempotencyKey.ReplayedHeader, StringHeader("true where the request was answered before and has changed nothing now.", isRequired: false));
            if (status == "201") success.Headers.Add("Location", StringHeader("Path of what was created.", isRequired: true));
        }
    }

    private static OpenApiHeader StringHeader(string description, bool isRequired) =>
        new() { Description = description, Required = isRequired, Schema = new OpenApiSchema { Type = JsonSchemaType.String } };
}
