using BnService.Api.Contracts;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>
/// Makes schemas what generators of clients understand: words are of type string, what may be left out may be null, and what goes without
/// saying is not said.
/// </summary>
internal static class PlainSchemas
{
    // What has all the fields of another one is described by those that it adds.
    private static readonly (string Derived, string Base)[] Families =
    [
        (nameof(CreateSessionRequest), nameof(LayerOptionsRequest)),
        (nameof(NormalizeRequest), nameof(LayerOptionsRequest)),
    ];

    /// <summary>Goes over all schemas of a document.</summary>
    public static void Simplify(OpenApiDocument document)
    {
        var schemas = document.Components!.Schemas!;
        foreach (var schema in schemas.Values.OfType<OpenApiSchema>()) Simplify(schema);
        foreach (var (derived, common) in Families) Derive((OpenApiSchema)schemas[derived], common, document);
    }

    private static void Derive(OpenApiSchema schema, string common, OpenApiDocument document)
    {
        var inherited = ((OpenApiSchema)document.Components!.Schemas![common]).Properties!.Keys;
        var own = new OpenApiSchema
        {
            Type = JsonSchemaType.Object,
            Properties = schema.Properties!.Where(property => !inherited.Contains(property.Key)).ToDictionary(),
            Required = schema.Required?.Except(inherited).ToHashSet(),
        };
        schema.AllOf = [new OpenApiSchemaReference(common, document), own];
        (schema.Type, schema.Properties, schema.Required) = (null, null, null);
    }

    // A line of a comment that ends in a backslash goes on in the next one: line breaks of the others are part of the document.
    private static string? Joined(string? description) => description?.Replace(" \\\n", " ", StringComparison.Ordinal);

    private static void Simplify(OpenApiSchema schema)
    {
        schema.Description = Joined(schema.Description);
        if (schema.Enum?.Count > 0)
        {
            // A type of which one property may be null would have null among its words.
            schema.Enum = [.. schema.Enum.Where(word => word is not null)];
            schema.Type = JsonSchemaType.String;
        }
        foreach (var (name, property) in schema.Properties?.ToList() ?? [])
        {
            if (property is OpenApiSchemaReference named) named.Reference.Description = Joined(named.Reference.Description);
            else property.Description = Joined(property.Description);
            var isRequired = schema.Required?.Contains(name) == true;
            schema.Properties![name] = property switch
            {
                OpenApiSchemaReference reference when !isRequired => NullOr(reference),
                OpenApiSchema { OneOf: [OpenApiSchema { Type: JsonSchemaType.Null }, OpenApiSchemaReference reference] } =>
                    NullOr(reference),
                _ => property,
            };
            if (property is not OpenApiSchema own) continue;
            if (!isRequired && own.OneOf is null) own.Type |= JsonSchemaType.Null;
            // Every number is a double, and no whole number is greater than its format allows.
            if (own.Format == "double") own.Format = null;
            if (own.Items is OpenApiSchema { Format: "double" } items) items.Format = null;
            if (own.Maximum == $"{int.MaxValue}" || own.Maximum == $"{long.MaxValue}") own.Maximum = null;
        }
    }

    // The description is the property's: generators do not look for it in an alternative.
    private static OpenApiSchema NullOr(OpenApiSchemaReference reference)
    {
        var description = Joined(reference.Description);
        reference.Reference.Description = null;
        return new OpenApiSchema { Description = description, OneOf = [new OpenApiSchema { Type = JsonSchemaType.Null }, reference] };
    }
}
