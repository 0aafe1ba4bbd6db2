using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Layers;

namespace BnService.Api.Wire;

/// <summary>
/// What a binary form brings besides its tensors, as the JSON object that it stands for: options by name, and values that are not tensors
/// in the contract (gamma, running_mean, mask, ...). A name with dots lies deeper: <c>seen.mean</c>, <c>moments.0.mean</c>. So there is
/// one place that knows what a field may be, whatever form it came in.
/// </summary>
internal sealed class FieldDocument(JsonTypeInfo contract)
{
    private static readonly byte[] Nothing = "{}"u8.ToArray();

    private static readonly byte[] EmptyArray = "[]"u8.ToArray();

    private readonly Node _root = new();

    /// <summary>Whether nothing was added.</summary>
    public bool IsEmpty => _root.Children.Count == 0;

    /// <summary>Adds an option as text: a string or a name as it is, everything else as JSON.</summary>
    public void Add(string path, string text)
    {
        var type = Nullable.GetUnderlyingType(TypeOf(path)) ?? TypeOf(path);
        if (type == typeof(string) || type.IsEnum) Put(path, JsonSerializer.SerializeToUtf8Bytes(text, ContractJson.Context.String));
        // Python writes True and False.
        else if (type == typeof(bool) && bool.TryParse(text, out var truth)) Put(path, truth ? "true"u8.ToArray() : "false"u8.ToArray());
        else Put(path, Checked(path, type == typeof(BatchMask) ? InJson(text) : text));
    }

    public void Add(IncomingValues values, ReadOnlySpan<byte> bytes)
    {
        var isArray = TypeOf(values.Path).IsArray;
        if (!isArray && values.Count != 1) throw Invalid($"{values.Path} must be a single number, got {values.Count} values");
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json, new JsonWriterOptions { SkipValidation = true }))
        {
            if (isArray) writer.WriteStartArray();
            values.Write(bytes, writer);
            if (isArray) writer.WriteEndArray();
        }
        Put(values.Path, json.WrittenSpan.ToArray());
    }

    /// <summary>Adds the place of an array, which is put there when the document has been read: it never becomes text.</summary>
    public void AddPlace(string path)
    {
        _ = TypeOf(path);
        Put(path, EmptyArray);
    }

    public byte[] ToJson()
    {
        if (IsEmpty) return Nothing;
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json, new JsonWriterOptions { SkipValidation = true })) Write(writer, _root, "");
        return json.WrittenSpan.ToArray();
    }

    public Type TypeOf(string path) => Find(path).Type;

    /// <summary>The JSON of a field at the top; empty where there is none.</summary>
    public ReadOnlySpan<byte> JsonOf(string name) => _root.Children.TryGetValue(name, out var child) ? child.Json : null;

    /// <summary>A field that was there already.</summary>
    public static ProblemException Twice(string path) => new(ProblemCode.MalformedBody, $"the request names '{path}' twice");

    // The type of what a path leads to, and the last field on its way: an entry of an array is none.
    private (Type Type, ContractField? Field) Find(string path)
    {
        var (type, field, at) = (contract.Type, (ContractField?)null, "");
        foreach (var name in path.Split('.'))
        {
            if (type.IsArray && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out _))
                (type, field) = (type.GetElementType()!, null);
            else if (contract.Options.TryGetTypeInfo(type, out var inner) && inner.Kind == JsonTypeInfoKind.Object)
            {
                field = JsonMessageReader.Find(inner, name, at);
                type = field.Property.PropertyType;
            }
            else JsonMessageReader.Find(contract, path, "");
            at += $"{name}.";
        }
        return (type, field);
    }

    private void Put(string path, byte[] json)
    {
        var node = _root;
        foreach (var name in path.Split('.'))
        {
            if (node.Json is not null) throw Twice(path);
            if (!node.Children.TryGetValue(name, out var child)) node.Children.Add(name, child = new Node());
            node = child;
        }
        if (node.Json is not null || node.Children.Count > 0) throw Twice(path);
        node.Json = json;
    }

    private static string InJson(string python) =>
        python.Replace("True", "true", StringComparison.Ordinal).Replace("False", "false", StringComparison.Ordinal);

    private byte[] Checked(string path, string text)
    {
        var json = Encoding.UTF8.GetBytes(text);
        if (!JsonFlaw.Of(json, JsonCursor.MaxDepth).IsFound) return json;
        var expected = Find(path).Field is { } field ? JsonMessageReader.Expectation(field) : "JSON";
        throw Invalid($"{path} must be {expected}, got '{JsonToken.Cut(json)}'");
    }

    private static void Write(Utf8JsonWriter writer, Node node, string path)
    {
        if (node.Json is not null)
        {
            writer.WriteRawValue(node.Json, skipInputValidation: true);
            return;
        }
        if (node.Children.Count == 0 || !char.IsAsciiDigit(node.Children.First().Key[0]))
        {
            writer.WriteStartObject();
            foreach (var (name, child) in node.Children)
            {
                writer.WritePropertyName(name);
                Write(writer, child, $"{path}{name}.");
            }
            writer.WriteEndObject();
            return;
        }
        writer.WriteStartArray();
        for (var i = 0; i < node.Children.Count; i++)
        {
            if (!node.Children.TryGetValue(i.ToString(CultureInfo.InvariantCulture), out var child))
                throw Invalid($"{path}{i} is missing: entries are counted from 0");
            Write(writer, child, $"{path}{i}.");
        }
        writer.WriteEndArray();
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    private sealed class Node
    {
        public Dictionary<string, Node> Children { get; } = [];

        public byte[]? Json { get; set; }
    }
}
