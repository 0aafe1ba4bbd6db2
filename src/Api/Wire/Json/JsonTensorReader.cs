using System.Numerics;
using System.Text.Json;
using BnService.Api.Errors;
using BnService.Core;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Reads a tensor from JSON into pooled memory: <c>{"shape":[2,2],"data":[1,2,3,4]}</c>, or nested arrays whose shape is inferred.
/// </summary>
/// <param name="field">Name of the field, for messages.</param>
/// <param name="terms">Type of the tensor's elements, and how many there may be.</param>
internal readonly ref struct JsonTensorReader(string field, JsonTerms terms)
{
    /// <summary>Reads the tensor that comes.</summary>
    /// <exception cref="ProblemException">The tensor is not well-formed.</exception>
    /// <exception cref="JsonException">It is not JSON.</exception>
    public Tensor Read(ref JsonCursor cursor) =>
        terms.Precision == Precision.Float64 ? Read<double>(ref cursor) : Read<float>(ref cursor);

    private Tensor Read<T>(ref JsonCursor cursor)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
    {
        var value = cursor.Value();
        var elements = new JsonArrayReader<T>(field, terms.MostElements, isFlat: value.TokenType == JsonTokenType.StartObject);
        try
        {
            var shape = value.TokenType switch
            {
                JsonTokenType.StartObject => ReadObject(ref cursor, ref elements),
                JsonTokenType.StartArray => elements.Read(ref cursor),
                _ => throw Malformed($"{field} must be a tensor ({{\"shape\":[..],\"data\":[..]}} or nested arrays), got {JsonToken.Describe(ref value)}"),
            };
            if (shape.Count != elements.Count)
                throw Mismatch($"{field}.shape {shape} needs {shape.Count} elements, {field}.data has {elements.Count}");
            return new Tensor(shape, elements.TakeElements(), terms.Precision);
        }
        finally
        {
            elements.Dispose();
        }
    }

    private Shape ReadObject<T>(ref JsonCursor cursor, ref JsonArrayReader<T> elements)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
    {
        Shape? shape = null;
        var (hasData, isFirst) = (false, true);
        cursor.Open('{');
        while (cursor.Next('}', ref isFirst))
        {
            var name = cursor.TakeName();
            var isShape = name.ValueTextEquals("shape"u8);
            if (!isShape && !name.ValueTextEquals("data"u8))
                throw Malformed($"{field} has the fields shape and data, got '{JsonToken.Cut(name.ValueSpan)}'");
            if (isShape ? shape is not null : hasData) throw Malformed($"{field} names '{JsonToken.Cut(name.ValueSpan)}' twice");
            var value = cursor.Value();
            if (value.TokenType != JsonTokenType.StartArray)
            {
                var expected = isShape ? "shape must be an array of whole numbers" : "data must be an array of numbers";
                throw Malformed($"{field}.{expected}, got {JsonToken.Describe(ref value)}");
            }
            if (isShape)
            {
                shape = ReadShape(ref value);
                cursor.Advance(value.BytesConsumed);
                continue;
            }
            // A number takes two bytes, which bounds what a shape may claim.
            if (shape is not null) elements.Reserve(Math.Min(Math.Min(shape.Count, terms.MostElements), cursor.Length / 2));
            elements.Read(ref cursor);
            hasData = true;
        }
        if (shape is null || !hasData) throw Malformed($"{field} lacks '{(shape is null ? "shape" : "data")}'");
        return shape;
    }

    private Shape ReadShape(ref Utf8JsonReader reader)
    {
        Span<int> dimensions = stackalloc int[Shape.MaxRank];
        var rank = 0;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (rank == Shape.MaxRank) throw Mismatch($"{field}.shape has at most {Shape.MaxRank} dimensions, got more");
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt32(out dimensions[rank]) || dimensions[rank] < 0)
                throw Mismatch($"{field}.shape[{rank}] must be a whole number from 0 to {int.MaxValue}, got {JsonToken.Describe(ref reader)}");
            rank++;
        }
        try
        {
            return new Shape(dimensions[..rank]);
        }
        catch (LayerException exception)
        {
            throw Mismatch($"{field}.shape: {exception.Message}");
        }
    }

    private static ProblemException Malformed(string detail) => new(ProblemCode.MalformedBody, detail);

    private static ProblemException Mismatch(string detail) => new(ProblemCode.ShapeMismatch, detail);
}
