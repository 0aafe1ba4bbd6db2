using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Errors;
using BnService.Api.Wire;
using BnService.Api.Wire.Json;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>
/// A mask in JSON: true and false, or 1 and 0 in any spelling of a number; flat, nested, or as <c>{"shape":[..],"data":[..]}</c>.
/// </summary>
internal sealed class MaskConverter : JsonConverter<BatchMask>
{
    private const string Name = "mask";

    private const string Truth = "true or 1 (it counts), or false or 0";
    private const int PieceLength = 256;

    /// <summary>What a mask may be, for messages.</summary>
    public const string Expectation = "an array of true and false, or 1 and 0 (flat, nested, or {\"shape\":[..],\"data\":[..]})";

    public override BatchMask Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType switch
    {
        JsonTokenType.StartArray => ReadNested(ref reader, Name, Shape.MaxRank),
        JsonTokenType.StartObject => ReadObject(ref reader),
        _ => throw Invalid($"{Name} must be {Expectation}, got {JsonToken.Describe(ref reader)}"),
    };

    public override void Write(Utf8JsonWriter writer, BatchMask value, JsonSerializerOptions options) =>
        throw new NotSupportedException("masks are never answered");

    /// <summary>A mask of elements as a binary form has them.</summary>
    /// <param name="bytes">The elements, row-major.</param>
    /// <exception cref="ProblemException">One of them is neither 0 nor 1, or no batch has these dimensions.</exception>
    public static BatchMask Of(IReadOnlyList<long> dimensions, ElementType type, ReadOnlySpan<byte> bytes, int count)
    {
        var values = new bool[count];
        Span<double> piece = stackalloc double[PieceLength];
        for (var start = 0; start < count; start += PieceLength)
        {
            var length = Math.Min(PieceLength, count - start);
            type.ToDoubles(bytes.Slice(start * type.Size(), length * type.Size()), piece[..length]);
            for (var i = 0; i < length; i++)
            {
                if (piece[i] is not (0 or 1))
                    throw Invalid(string.Create(CultureInfo.InvariantCulture, $"{Name}.data[{start + i}] must be {Truth}, got {piece[i]}"));
                values[start + i] = piece[i] == 1;
            }
        }
        return new(IncomingTensor.ShapeOf(Name, dimensions), values);
    }

    private static BatchMask ReadObject(ref Utf8JsonReader reader)
    {
        int[]? shape = null;
        BatchMask? data = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            reader.Read();
            if (name == "shape" && shape is null) shape = ReadShape(ref reader);
            else if (name == "data" && data is null && reader.TokenType == JsonTokenType.StartArray)
                data = ReadNested(ref reader, $"{Name}.data", 1);
            else throw Invalid($"{Name} must be {Expectation}; as an object it has shape and data, once each, got {name}");
        }
        if (shape is null || data is null) throw Invalid($"{Name}.{(shape is null ? "shape" : "data")} is missing");
        var dimensions = IncomingTensor.ShapeOf(Name, [.. shape.Select(dimension => (long)dimension)]);
        return dimensions.Count == data.Values.Length
            ? new(dimensions, data.Values)
            : throw Mismatch($"{Name}.shape {dimensions} needs {dimensions.Count} values, {Name}.data has {data.Values.Length}");
    }

    private static int[] ReadShape(ref Utf8JsonReader reader)
    {
        var shape = new List<int>();
        if (reader.TokenType != JsonTokenType.StartArray) throw NoShape(ref reader);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt32(out var dimension) || dimension < 0)
                throw NoShape(ref reader);
            if (shape.Count == Shape.MaxRank) throw Mismatch($"{Name}.shape has at most {Shape.MaxRank} dimensions, got more");
            shape.Add(dimension);
        }
        return [.. shape];
    }

    // The lengths of the first array of each depth are those of all others.
    private static BatchMask ReadNested(ref Utf8JsonReader reader, string path, int maxRank)
    {
        var (values, lengths, counts) = (new List<bool>(), new int?[maxRank], new int[maxRank]);
        var (depth, rank) = (0, 0);
        while (reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.StartArray:
                    if (rank > 0 && depth + 1 >= rank) throw Ragged(path);
                    if (++depth >= maxRank) throw Mismatch($"{path} has at most {maxRank} dimensions");
                    counts[depth] = 0;
                    break;
                case JsonTokenType.EndArray:
                    if (rank == 0) rank = depth + 1;
                    if (depth + 1 > rank || (lengths[depth] is { } length && length != counts[depth])) throw Ragged(path);
                    lengths[depth] = counts[depth];
                    if (depth == 0) return new(new Shape([.. lengths.Take(rank).Select(each => each ?? 0)]), [.. values]);
                    counts[--depth]++;
                    break;
                default:
                    if (rank == 0) rank = depth + 1;
                    if (depth + 1 != rank) throw Ragged(path);
                    values.Add(ReadValue(ref reader, path, counts.AsSpan(0, rank)));
                    counts[depth]++;
                    break;
            }
        }
        throw new JsonException();
    }

    private static bool ReadValue(ref Utf8JsonReader reader, string path, ReadOnlySpan<int> at) => reader.TokenType switch
    {
        JsonTokenType.True => true,
        JsonTokenType.False => false,
        JsonTokenType.Number when reader.GetDouble() is 0 or 1 => reader.GetDouble() == 1,
        _ => throw Invalid($"{path}[{string.Join("][", at.ToArray())}] must be {Truth}, got {JsonToken.Describe(ref reader)}"),
    };

    private static ProblemException NoShape(ref Utf8JsonReader reader) =>
        Invalid($"{Name}.shape must be an array of whole numbers of 0 or more, got {JsonToken.Describe(ref reader)}");

    private static ProblemException Ragged(string path) => Mismatch($"{path} must have inner arrays of equal lengths");

    private static ProblemException Invalid(string message) => new(ProblemCode.InvalidOption, message);

    private static ProblemException Mismatch(string message) => new(ProblemCode.ShapeMismatch, message);
}
