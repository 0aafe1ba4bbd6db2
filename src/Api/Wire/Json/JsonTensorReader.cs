using System.Text.Json;
using BnService.Api.Hosting.Problems;
using BnService.Core;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Reads a tensor from JSON into pooled memory: <c>{"shape":[2,2],"data":[1,2,3,4]}</c>, or nested arrays whose shape is inferred.
/// NaN and infinities are the strings <c>"NaN"</c>, <c>"Infinity"</c> and <c>"-Infinity"</c>.
/// </summary>
/// <param name="field">Name of the field, for messages.</param>
/// <param name="bodyLength">Length of the whole body in bytes: a number takes two of them, which bounds what a shape may claim.</param>
internal ref struct JsonTensorReader(string field, int bodyLength)
{
    private NativeBuffer? _elements;
    private int _count;

    /// <summary>Reads the tensor whose first token the reader stands on.</summary>
    /// <exception cref="ProblemException">The tensor is not well-formed.</exception>
    public Tensor Read(ref Utf8JsonReader reader)
    {
        try
        {
            var shape = reader.TokenType switch
            {
                JsonTokenType.StartObject => ReadObject(ref reader),
                JsonTokenType.StartArray => ReadNested(ref reader),
                _ => throw Malformed($"{field} must be a tensor ({{\"shape\":[..],\"data\":[..]}} or nested arrays), got {JsonToken.Describe(ref reader)}"),
            };
            if (shape.Count != _count) throw Mismatch($"{field}.shape {shape} needs {shape.Count} elements, {field}.data has {_count}");
            var tensor = new Tensor(shape, _elements ?? NativeBuffer.Rent(0));
            _elements = null;
            return tensor;
        }
        finally
        {
            _elements?.Dispose();
        }
    }

    private Shape ReadObject(ref Utf8JsonReader reader)
    {
        Shape? shape = null;
        var hasData = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var isShape = reader.ValueTextEquals("shape"u8);
            if (!isShape && !reader.ValueTextEquals("data"u8))
                throw Malformed($"{field} has the fields shape and data, got '{JsonToken.Cut(reader.ValueSpan)}'");
            if (isShape ? shape is not null : hasData) throw Malformed($"{field} names '{JsonToken.Cut(reader.ValueSpan)}' twice");
            reader.Read();
            if (isShape) shape = ReadShape(ref reader);
            else hasData = ReadData(ref reader, shape);
        }
        if (shape is null || !hasData) throw Malformed($"{field} lacks '{(shape is null ? "shape" : "data")}'");
        return shape;
    }

    private readonly Shape ReadShape(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Malformed($"{field}.shape must be an array of whole numbers, got {JsonToken.Describe(ref reader)}");
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

    private bool ReadData(ref Utf8JsonReader reader, Shape? shape)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Malformed($"{field}.data must be an array of numbers, got {JsonToken.Describe(ref reader)}");
        if (shape is not null) Reserve(Math.Min(shape.Count, bodyLength / 2));
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType == JsonTokenType.StartArray)
                throw Mismatch($"{field}.data must be flat, in row-major order; nested arrays are sent without shape, as {field} itself");
            Append(ReadElement(ref reader));
        }
        return true;
    }

    // The shape of nested arrays: the first array of each depth decides its dimension, all others must agree.
    private Shape ReadNested(ref Utf8JsonReader reader)
    {
        Span<int> dimensions = stackalloc int[Shape.MaxRank];
        Span<int> counts = stackalloc int[Shape.MaxRank];
        dimensions.Fill(-1);
        var (depth, rank) = (0, -1);
        counts[0] = 0;
        while (reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.StartArray:
                    if (depth + 1 == Shape.MaxRank) throw Mismatch($"{field} has at most {Shape.MaxRank} dimensions, got more");
                    if (rank == depth + 1) throw Ragged(depth + 1);
                    counts[depth]++;
                    counts[++depth] = 0;
                    break;
                case JsonTokenType.EndArray:
                    if (counts[depth] == 0 && rank < 0) rank = depth + 1; // an empty array is as deep as the tensor goes
                    if (counts[depth] == 0 && rank != depth + 1 && dimensions[depth] != 0) throw Ragged(depth);
                    if (dimensions[depth] < 0) dimensions[depth] = counts[depth];
                    if (dimensions[depth] != counts[depth]) throw Ragged(depth);
                    if (depth-- == 0) return new Shape(dimensions[..rank]);
                    break;
                default:
                    if (rank < 0) rank = depth + 1;
                    if (rank != depth + 1) throw Ragged(depth + 1);
                    counts[depth]++;
                    Append(ReadElement(ref reader));
                    break;
            }
        }
        throw Malformed($"{field} ends too early");
    }

    private readonly float ReadElement(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.Number)
        {
            var value = reader.GetSingle();
            if (float.IsFinite(value)) return value;
            throw new ProblemException(ProblemCode.NonFiniteInput,
                $"{field}: element {_count} is {JsonToken.Describe(ref reader)}, beyond float32 (±{float.MaxValue:R}); infinities are sent as \"Infinity\" or \"-Infinity\"");
        }
        if (reader.TokenType == JsonTokenType.String)
        {
            if (reader.ValueTextEquals("NaN"u8)) return float.NaN;
            if (reader.ValueTextEquals("Infinity"u8)) return float.PositiveInfinity;
            if (reader.ValueTextEquals("-Infinity"u8)) return float.NegativeInfinity;
        }
        throw Malformed($"{field}: element {_count} must be a number, \"NaN\", \"Infinity\" or \"-Infinity\", got {JsonToken.Describe(ref reader)}");
    }

    private void Append(float value)
    {
        if (_elements is null || _count == Capacity) Reserve(Math.Max(64, 2 * _count));
        _elements!.Span<float>(_count + 1)[_count] = value;
        _count++;
    }

    private readonly int Capacity => _elements is null ? 0 : (int)Math.Min(_elements.Length / sizeof(float), int.MaxValue);

    private void Reserve(int count)
    {
        if (count <= Capacity) return;
        var larger = NativeBuffer.Rent((long)count * sizeof(float));
        if (_count > 0) _elements!.Span<float>(_count).CopyTo(larger.Span<float>(_count));
        _elements?.Dispose();
        _elements = larger;
    }

    private readonly ProblemException Ragged(int depth) =>
        Mismatch($"{field} is ragged: its arrays at depth {depth + 1} differ in length or depth");

    private static ProblemException Malformed(string detail) => new(ProblemCode.MalformedBody, detail);

    private static ProblemException Mismatch(string detail) => new(ProblemCode.ShapeMismatch, detail);
}
