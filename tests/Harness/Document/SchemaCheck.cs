using System.Text.Json;
using System.Text.RegularExpressions;

namespace BnService.Harness;

/// <summary>Holds JSON against a schema: types, required and unknown names, enumerations, alternatives, bounds.</summary>
/// <param name="document">Where references point into.</param>
/// <param name="what">What is being checked, for messages.</param>
public sealed class SchemaCheck(ApiDocument document, string what)
{
    // The elements of a large tensor are all written by the same line.
    private const int CheckedItems = 200;

    // What the document's introduction says of arrays of numbers, and their schema does not: generators know no type for it.
    private static readonly string[] NonFinite = ["NaN", "Infinity", "-Infinity"];

    /// <summary>Fails if the value does not fit the schema.</summary>
    public void Check(JsonElement value, JsonElement schema, string path)
    {
        if (Misfit(value, schema, path) is { } misfit) Assert.Fail($"{misfit} of {what}");
    }

    private string? Misfit(JsonElement value, JsonElement schema, string path)
    {
        if (schema.TryGetProperty("$ref", out var reference)) return Misfit(value, document.Resolve(reference.GetString()!), path);
        if (schema.TryGetProperty("oneOf", out var alternatives))
        {
            var misfits = alternatives.EnumerateArray().Select(alternative => Misfit(value, alternative, path)).ToList();
            return misfits.Count(misfit => misfit is null) == 1 ? null : $"{path} fits not exactly one alternative ({string.Join("; ", misfits)})";
        }
        if (schema.TryGetProperty("enum", out var members) && !members.EnumerateArray().Any(member => JsonElement.DeepEquals(member, value)))
            return $"{path} is {value}, not one of {members}";
        // Every integer is a number.
        var kind = TypeOf(value);
        if (schema.TryGetProperty("type", out var type) && !TypesOf(type).Any(name => name == kind || (name == "number" && kind == "integer")))
            return $"{path} is {kind}, not {type}";
        return value.ValueKind switch
        {
            JsonValueKind.Object => MisfitOfObject(value, schema, path),
            JsonValueKind.Array => MisfitOfArray(value, schema, path),
            JsonValueKind.Number => MisfitOfNumber(value.GetDouble(), schema, path),
            JsonValueKind.String when schema.TryGetProperty("pattern", out var pattern) && !Regex.IsMatch(value.GetString()!, pattern.GetString()!) =>
                $"{path} is '{value}', not {pattern}",
            _ => null,
        };
    }

    private string? MisfitOfObject(JsonElement value, JsonElement schema, string path)
    {
        var properties = schema.TryGetProperty("properties", out var known) ? known : default;
        if (schema.TryGetProperty("required", out var required)
            && required.EnumerateArray().FirstOrDefault(name => !value.TryGetProperty(name.GetString()!, out _)) is { ValueKind: JsonValueKind.String } missing)
        {
            return $"{path} lacks {missing}";
        }
        foreach (var member in value.EnumerateObject())
        {
            if (properties.ValueKind == JsonValueKind.Object && properties.TryGetProperty(member.Name, out var property))
            {
                if (Misfit(member.Value, property, $"{path}.{member.Name}") is { } misfit) return misfit;
            }
            else if (schema.TryGetProperty("additionalProperties", out var others) && others.ValueKind == JsonValueKind.Object)
            {
                if (Misfit(member.Value, others, $"{path}.{member.Name}") is { } misfit) return misfit;
            }
            else
            {
                return $"{path}.{member.Name} is not in the document";
            }
        }
        return null;
    }

    private string? MisfitOfArray(JsonElement value, JsonElement schema, string path)
    {
        if (schema.TryGetProperty("maxItems", out var most) && value.GetArrayLength() > most.GetInt32()) return $"{path} has more than {most} items";
        if (!schema.TryGetProperty("items", out var items)) return null;
        var hasNumbers = items.TryGetProperty("type", out var type) && TypesOf(type).Contains("number");
        return value.EnumerateArray().Take(CheckedItems)
            .Select((item, index) => hasNumbers && IsNonFinite(item) ? null : Misfit(item, items, $"{path}[{index}]"))
            .FirstOrDefault(misfit => misfit is not null);
    }

    private static bool IsNonFinite(JsonElement item) => item.ValueKind == JsonValueKind.String && NonFinite.Contains(item.GetString());

    private static string? MisfitOfNumber(double value, JsonElement schema, string path)
    {
        if (schema.TryGetProperty("minimum", out var minimum) && value < minimum.GetDouble()) return $"{path} is {value}, below {minimum}";
        return schema.TryGetProperty("maximum", out var maximum) && value > maximum.GetDouble() ? $"{path} is {value}, above {maximum}" : null;
    }

    private static IEnumerable<string> TypesOf(JsonElement type) => type.ValueKind == JsonValueKind.String
        ? [type.GetString()!]
        : type.EnumerateArray().Select(name => name.GetString()!);

    private static string TypeOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "object",
        JsonValueKind.Array => "array",
        JsonValueKind.String => "string",
        JsonValueKind.Null => "null",
        JsonValueKind.True or JsonValueKind.False => "boolean",
        _ => value.TryGetInt64(out _) ? "integer" : "number",
    };
}
