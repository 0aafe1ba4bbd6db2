using System.Collections.Concurrent;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>A field of a contract type and what its attributes say of it, which is looked up once.</summary>
internal sealed class ContractField
{
    private static readonly ConcurrentDictionary<JsonTypeInfo, ContractField[]> Known = new();

    private ContractField(JsonPropertyInfo property)
    {
        Property = property;
        IsRequired = Attribute<RequiredAttribute>(property) is not null;
        NullIsValue = Attribute<NullIsValueAttribute>(property) is not null;
        IsLeftOutWhenNull = Attribute<JsonIgnoreAttribute>(property)?.Condition == JsonIgnoreCondition.WhenWritingNull;
        IsTensor = property.PropertyType.IsAssignableTo(typeof(TensorSource));
        Type = property.Options.GetTypeInfo(property.PropertyType);
        IsLong = IsLongType(Type);
        MostItems = Attribute<MaxLengthAttribute>(property)?.Length;
        Words = WordsOf(Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType, property.Options);
        TensorName = Attribute<TensorNameAttribute>(property)?.Name;
        HasParameterShape = Attribute<ParameterShapeAttribute>(property) is not null;
        HeaderName = Attribute<HeaderFieldAttribute>(property)?.Name;
    }

    public JsonPropertyInfo Property { get; }

    public string Name => Property.Name;

    /// <summary>Whether a request cannot do without it.</summary>
    public bool IsRequired { get; }

    public bool NullIsValue { get; }

    /// <summary>Whether an answer has it only where it is not null.</summary>
    public bool IsLeftOutWhenNull { get; }

    public bool IsTensor { get; }

    public JsonTypeInfo Type { get; }

    /// <summary>
    /// Whether it is an object with arrays of numbers, or a list of objects: such a value may be long, and is written piece by piece.
    /// </summary>
    public bool IsLong { get; }

    /// <summary>The most entries, or of a text characters; null where that is not said.</summary>
    public int? MostItems { get; }

    public IReadOnlyDictionary<string, object>? Words { get; }

    public string? TensorName { get; }

    public bool HasParameterShape { get; }

    public string? HeaderName { get; }

    public static ContractField[] Of(JsonTypeInfo contract) =>
        Known.GetOrAdd(contract, type => [.. type.Properties.Select(property => new ContractField(property))]);

    private static bool IsLongType(JsonTypeInfo type) => type.Kind switch
    {
        JsonTypeInfoKind.Object =>
            type.Properties.Any(inner => inner.PropertyType == typeof(double[])
            || IsLongType(inner.Options.GetTypeInfo(inner.PropertyType))),
        JsonTypeInfoKind.Enumerable => type.Options.GetTypeInfo(type.ElementType!).Kind == JsonTypeInfoKind.Object,
        _ => false,
    };

    // The serializer itself reads names as C# has them in any case, and those of the contract in small letters alone.
    private static Dictionary<string, object>? WordsOf(Type type, JsonSerializerOptions options) => type.IsEnum
        ? Enum.GetValuesAsUnderlyingType(type).Cast<object>().Select(value => Enum.ToObject(type, value))
            .ToDictionary(value => JsonSerializer.Serialize(value, options.GetTypeInfo(type))[1..^1], StringComparer.OrdinalIgnoreCase)
        : null;

    private static T? Attribute<T>(JsonPropertyInfo property)
        where T : Attribute => property.AttributeProvider?.GetCustomAttributes(typeof(T), inherit: true) is [T attribute, ..] ? attribute
            : null;
}

/// <summary>Fields of a message by their paths, as binary forms name them: <c>gamma</c>, <c>seen.mean</c>, <c>moments.0.m2</c>.</summary>
internal static class ContractPath
{
    /// <summary>Sets a field whose place is there: everything on the way to it is.</summary>
    public static void Set(object message, JsonTypeInfo contract, string path, object value)
    {
        var names = path.Split('.');
        var at = message;
        foreach (var name in names[..^1])
        {
            at = at is Array entries
                ? entries.GetValue(int.Parse(name, CultureInfo.InvariantCulture))!
                : JsonMessageReader.Find(contract.Options.GetTypeInfo(at.GetType()), name, "").Property.Get!(at)!;
        }
        if (at is Array array) array.SetValue(value, int.Parse(names[^1], CultureInfo.InvariantCulture));
        else JsonMessageReader.Find(contract.Options.GetTypeInfo(at.GetType()), names[^1], "").Property.Set!(at, value);
    }
}
