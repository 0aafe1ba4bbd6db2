using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Errors;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Reads a JSON body into a contract type. Its properties say what each field is: tensors go straight from the body's bytes into
/// pooled memory, everything else through the serializer.
/// </summary>
internal static class JsonMessageReader
{
    /// <summary>Reads one object.</summary>
    /// <param name="options">How long its arrays may be; null for any length.</param>
    /// <exception cref="ProblemException">Not JSON, an unknown or missing or repeated field, or a value of the wrong type or too
    /// long.</exception>
    public static T Read<T>(
        ReadOnlySpan<byte> body, JsonTypeInfo<T> contract, Precision precision = Precision.Float32, LimitOptions? options = null)
        where T : class
    {
        var message = contract.CreateObject!();
        try
        {
            RequireAll(contract, ReadInto(message, body, contract, precision, options), "");
            return message;
        }
        catch
        {
            (message as IDisposable)?.Dispose();
            throw;
        }
    }

    /// <summary>Reads some of a message's fields; others may come from elsewhere.</summary>
    /// <param name="options">How long its arrays may be; null for any length.</param>
    /// <returns>The names of the fields that were there.</returns>
    /// <exception cref="ProblemException">Not JSON, an unknown or repeated field, or a value of the wrong type.</exception>
    public static HashSet<string> ReadInto<T>(
        T message, ReadOnlySpan<byte> body, JsonTypeInfo<T> contract, Precision precision = Precision.Float32, LimitOptions? options = null)
        where T : class
    {
        body = JsonToken.WithoutMark(body);
        try
        {
            var cursor = new JsonCursor(body);
            var value = cursor.Value();
            if (value.TokenType != JsonTokenType.StartObject)
                throw new ProblemException(ProblemCode.MalformedBody,
                    $"the body must be a JSON object, got {JsonToken.Describe(ref value)}");
            var seen = Fill(ref cursor, message, contract, "", MessageLimits.Of(contract, precision, options));
            return cursor.IsAtEnd() ? seen : throw new JsonException();
        }
        catch (Exception exception) when (
            exception is JsonException or InvalidOperationException { Source: "System.Text.Json.Rethrowable" })
        {
            // The reader finds an escape of an unpaired surrogate only when the text is compared with another.
            throw new ProblemException(ProblemCode.MalformedBody, JsonFlaw.Of(body, JsonCursor.MaxDepth).Explain("the body"));
        }
    }

    /// <summary>Requires the fields that a message cannot do without.</summary>
    public static void RequireAll(JsonTypeInfo contract, HashSet<string> seen, string path)
    {
        foreach (var field in ContractField.Of(contract))
        {
            if (!field.IsRequired || seen.Contains(field.Name)) continue;
            throw new ProblemException(field.IsTensor ? ProblemCode.MalformedBody : ProblemCode.InvalidOption,
                $"{path}{field.Name} is missing; it must be {Expectation(field)}");
        }
    }

    /// <summary>A field of a message.</summary>
    public static ContractField Find(JsonTypeInfo contract, string name, string path)
    {
        var fields = ContractField.Of(contract);
        foreach (var field in fields)
        {
            if (field.Name == name && field.Property.Set is not null) return field;
        }
        throw new ProblemException(ProblemCode.InvalidOption,
            $"'{path}{Excerpt.Of(name)}' is not a field of this call; allowed: " +
            string.Join(", ", fields.Where(field => field.Property.Set is not null).Select(field => path + field.Name)));
    }

    /// <summary>What a field may be, for messages.</summary>
    public static string Expectation(ContractField field)
    {
        var property = field.Property;
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        var orNull = field.NullIsValue ? ", or null" : "";
        if (field.Words is { } words) return $"one of {string.Join(", ", words.Keys.Select(word => $"\"{word}\""))}{orNull}";
        return (type == typeof(Tensor) ? "a tensor ({\"shape\":[..],\"data\":[..]} or nested arrays)"
            : type == typeof(int) || type == typeof(long) ? "a whole number"
            : type == typeof(double) ? "a number"
            : type == typeof(bool) ? "true or false"
            : type == typeof(string) ? "a string"
            : type == typeof(string[]) ? "an array of strings"
            : type == typeof(double[]) || type == typeof(int[]) ? "an array of numbers"
            : type == typeof(double[][]) ? "an array of arrays of numbers"
            : type.IsArray ? "an array of objects"
            : type == typeof(BatchMask) ? MaskConverter.Expectation
            : type == typeof(Padding) ? "a whole number or an array of whole numbers"
            : type == typeof(Dictionary<string, string>) ? "an object of strings"
            : "an object") + orNull;
    }

    // Fills an object of the contract from the JSON object that comes; path is where it lies, with a dot at its end.
    private static HashSet<string> Fill(ref JsonCursor cursor, object message, JsonTypeInfo contract, string path, MessageLimits limits)
    {
        var seen = new HashSet<string>();
        var isFirst = true;
        cursor.Open('{');
        while (cursor.Next('}', ref isFirst))
        {
            var name = TakeName(ref cursor);
            if (!seen.Add(name)) throw new ProblemException(ProblemCode.MalformedBody, $"the body names '{path}{name}' twice");
            var field = Find(contract, name, path);
            var value = ReadValue(ref cursor, field, path + name, limits);
            if (value is not null || field.NullIsValue) field.Property.Set!(message, value);
        }
        return seen;
    }

    private static object? ReadValue(ref JsonCursor cursor, ContractField field, string path, MessageLimits limits)
    {
        var property = field.Property;
        if (cursor.TryTakeNonFinite(out var nonFinite)) return NonFinite(nonFinite, field, path);
        var reader = cursor.Value();
        if (reader.TokenType == JsonTokenType.Null && !field.IsRequired)
        {
            cursor.Advance(reader.BytesConsumed);
            return null;
        }
        // Whatever the field's type is: the serializer makes null of it for every class.
        if (reader.TokenType == JsonTokenType.Null && property.PropertyType != typeof(Tensor))
            throw new ProblemException(ProblemCode.InvalidOption, $"{path} must be {Expectation(field)}, got null");
        if (property.PropertyType == typeof(Tensor)) return new JsonTensorReader(path, limits).Read(ref cursor);
        if (reader.TokenType == JsonTokenType.StartArray)
        {
            if (property.PropertyType == typeof(double[])) return JsonNumberArrays.Read(ref cursor, path, limits);
            if (property.PropertyType == typeof(double[][]))
                return JsonNumberArrays.ReadMany(ref cursor, path, limits, field.MostItems ?? MessageLimits.MostItems);
        }
        var type = property.Options.GetTypeInfo(property.PropertyType);
        if (type.Kind == JsonTypeInfoKind.Object && reader.TokenType == JsonTokenType.StartObject)
            return ReadObject(ref cursor, type, $"{path}.", limits);
        if (type.ElementType is { } element && property.Options.GetTypeInfo(element) is { Kind: JsonTypeInfoKind.Object } item
            && reader.TokenType == JsonTokenType.StartArray)
        {
            return ReadObjects(ref cursor, item, path, limits, field.MostItems ?? MessageLimits.MostItems);
        }
        var sent = JsonToken.Describe(ref reader);
        // A first look over the value finds what is not JSON; what then fails is JSON of the wrong type or range.
        var inner = reader;
        cursor.Advance(MessageLimits.LengthOf(reader, field, path));
        try
        {
            if (field.Words is not { } words) return JsonSerializer.Deserialize(ref reader, type);
            return reader.TokenType == JsonTokenType.String && words.TryGetValue(reader.GetString()!, out var value) ? value
                : throw new JsonException();
        }
        catch (JsonException exception) when (exception.Message.StartsWith("Duplicate", StringComparison.Ordinal))
        {
            throw new ProblemException(ProblemCode.MalformedBody, $"{path} names a field twice");
        }
        catch (JsonException exception)
        {
            // The serializer's path starts with $ and, inside arrays and dictionaries, says where.
            var inside = exception.Path is { Length: > 1 } where ? where[1..] : "";
            throw new ProblemException(ProblemCode.InvalidOption,
                $"{path} must be {Expectation(field)}, got " +
                    $"{(inside.Length == 0 ? sent : $"{DescribeItem(ref inner, inside)} at {path}{inside}")}");
        }
    }

    // What stands at [2] of an array, or at .name of an object.
    private static string DescribeItem(ref Utf8JsonReader reader, string inside)
    {
        var depth = reader.CurrentDepth;
        for (var index = 0; reader.Read() && reader.CurrentDepth > depth; index++)
        {
            var isIt = inside == $"[{index}]";
            if (reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString()!;
                isIt = inside == $".{name}" || inside == $"['{name}']";
                reader.Read();
            }
            if (isIt) return JsonToken.Describe(ref reader);
            reader.Skip();
        }
        return "something else";
    }

    private static object NonFinite(double value, ContractField field, string path)
    {
        if ((Nullable.GetUnderlyingType(field.Property.PropertyType) ?? field.Property.PropertyType) == typeof(double)) return value;
        throw new ProblemException(field.IsTensor ? ProblemCode.MalformedBody : ProblemCode.InvalidOption,
            string.Create(CultureInfo.InvariantCulture, $"{path} must be {Expectation(field)}, got {value}"));
    }

    private static object ReadObject(ref JsonCursor cursor, JsonTypeInfo type, string path, MessageLimits limits)
    {
        var read = type.CreateObject!();
        try
        {
            RequireAll(type, Fill(ref cursor, read, type, path, limits), path);
            return read;
        }
        catch
        {
            (read as IDisposable)?.Dispose();
            throw;
        }
    }

    // Objects of an array one by one, so that each message says which entry, and of it which field, was meant.
    private static Array ReadObjects(ref JsonCursor cursor, JsonTypeInfo item, string path, MessageLimits limits, int most)
    {
        var items = new List<object>();
        var isFirst = true;
        cursor.Open('[');
        while (cursor.Next(']', ref isFirst))
        {
            if (items.Count == most) throw MessageLimits.TooMany(path, most);
            var value = cursor.Value();
            if (value.TokenType != JsonTokenType.StartObject)
                throw new ProblemException(ProblemCode.InvalidOption,
                    $"{path}[{items.Count}] must be an object, got {JsonToken.Describe(ref value)}");
            items.Add(ReadObject(ref cursor, item, $"{path}[{items.Count}].", limits));
        }
        var array = Array.CreateInstance(item.Type, items.Count);
        ((System.Collections.ICollection)items).CopyTo(array, 0);
        return array;
    }

    // A name may hold escapes of unpaired surrogates, which no string can.
    private static string TakeName(ref JsonCursor cursor)
    {
        var name = cursor.TakeName();
        if (name.ValueSpan.Length > MessageLimits.LongestName)
            throw new ProblemException(ProblemCode.InvalidOption,
                $"a field's name has at most {MessageLimits.LongestName} bytes, got '{JsonToken.Cut(name.ValueSpan)}'");
        try
        {
            return name.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new ProblemException(ProblemCode.MalformedBody, "a field's name is not valid Unicode");
        }
    }
}
