using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text.Json;
using BnService.Api.Hosting;
using BnService.Api.Errors;
using BnService.Core;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Reads a tensor from JSON into pooled memory: <c>{"shape":[2,2],"data":[1,2,3,4]}</c>, or nested arrays whose shape is inferred.
/// </summary>
/// <param name="limits">Type of the tensor's elements, and how many there may be.</param>
internal readonly ref struct JsonTensorReader(string field, MessageLimits limits)
{
    public Tensor Read(ref JsonCursor cursor) =>
        limits.Precision == Precision.Float64 ? Read<double>(ref cursor) : Read<float>(ref cursor);

    private Tensor Read<T>(ref JsonCursor cursor)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
    {
        var value = cursor.Value();
        var elements = new JsonArrayReader<T>(field, limits.MostElements, isFlat: value.TokenType == JsonTokenType.StartObject);
        try
        {
            var shape = value.TokenType switch
            {
                JsonTokenType.StartObject => ReadObject(ref cursor, ref elements),
                JsonTokenType.StartArray => elements.Read(ref cursor),
                _ => throw Malformed(
                    $"{field} must be a tensor ({{\"shape\":[..],\"data\":[..]}} or nested arrays), got {JsonToken.Describe(ref value)}"),
            };
            if (shape.Count != elements.Count)
                throw Mismatch($"{field}.shape {shape} needs {shape.Count} elements, {field}.data has {elements.Count}");
            return new Tensor(shape, elements.TakeElements(), limits.Precision);
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
            if (shape is not null) elements.Reserve(Math.Min(Math.Min(shape.Count, limits.MostElements), cursor.Length / 2));
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
                throw Mismatch($"{field}.shape[{rank}] must be a whole number from 0 to {int.MaxValue}, got " +
                    $"{JsonToken.Describe(ref reader)}");
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

/// <summary>
/// Reads an array of numbers, or nested arrays of them, from JSON into pooled memory. NaN and infinities are the strings
/// <c>"NaN"</c>, <c>"Infinity"</c> and <c>"-Infinity"</c>, or these words bare, as Python's json writes them.
/// </summary>
/// <typeparam name="T">float or double.</typeparam>
/// <param name="most">The most elements: reading ends soon after them, and the caller refuses the shape.</param>
internal ref struct JsonArrayReader<T>(string field, int most = int.MaxValue, bool isFlat = false)
    where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
{
    private const int FirstCapacity = 64;
    private NativeBuffer? _elements;

    public int Count { get; private set; }

    private readonly int Capacity => _elements is null ? 0 : (int)Math.Min(_elements.Length / Unsafe.SizeOf<T>(), int.MaxValue);

    public void Reserve(long count)
    {
        if (count <= Capacity) return;
        var larger = NativeBuffer.Rent(count * Unsafe.SizeOf<T>());
        if (Count > 0) _elements!.Span<T>(Count).CopyTo(larger.Span<T>(Count));
        _elements?.Dispose();
        _elements = larger;
    }

    /// <summary>Reads the array that comes.</summary>
    /// <returns>Its shape: the first array of each depth decides the dimension, all others must agree.</returns>
    /// <exception cref="ProblemException">It is ragged, too deep, or has an element that is no number or beyond the type's
    /// range.</exception>
    public Shape Read(ref JsonCursor cursor)
    {
        Span<int> dimensions = stackalloc int[Shape.MaxRank];
        Span<int> counts = stackalloc int[Shape.MaxRank];
        dimensions.Fill(-1);
        counts[0] = 0;
        var (depth, rank) = (0, -1);
        cursor.Take('[');
        while (depth >= 0)
        {
            var next = cursor.Peek();
            if (next == '[')
            {
                if (isFlat)
                    throw Mismatch($"{field}.data must be flat, in row-major order; nested arrays are sent without shape, as {field} " +
                        $"itself");
                if (depth + 1 == Shape.MaxRank) throw Mismatch($"{field} has at most {Shape.MaxRank} dimensions, got more");
                if (rank == depth + 1) throw Ragged(depth + 1);
                cursor.Take('[');
                counts[depth]++;
                counts[++depth] = 0;
                continue;
            }
            if (next != ']' || counts[depth] > 0)
            {
                if (rank < 0) rank = depth + 1;
                if (rank != depth + 1)
                {
                    if (!cursor.TryTakeNonFinite(out _)) cursor.Value(); // what is not JSON is not ragged
                    throw Ragged(depth + 1);
                }
                counts[depth] += ReadElements(ref cursor);
            }
            for (; depth >= 0 && cursor.TryTake(']'); depth--)
            {
                if (counts[depth] == 0 && rank < 0) rank = depth + 1; // an empty array is as deep as the tensor goes
                if (counts[depth] == 0 && rank != depth + 1 && dimensions[depth] != 0) throw Ragged(depth);
                if (dimensions[depth] < 0) dimensions[depth] = counts[depth];
                if (dimensions[depth] != counts[depth]) throw Ragged(depth);
            }
            if (depth >= 0) cursor.Take(',');
        }
        return new Shape(dimensions[..rank]);
    }

    /// <summary>Hands over what was read, whose owner is then the caller.</summary>
    public NativeBuffer TakeElements()
    {
        var elements = _elements ?? NativeBuffer.Rent(0);
        _elements = null;
        return elements;
    }

    /// <summary>Gives back what was not taken.</summary>
    public readonly void Dispose() => _elements?.Dispose();

    // At least one: the one that comes.
    private int ReadElements(ref JsonCursor cursor)
    {
        if (Count == Capacity && Count > most)
            throw new ProblemException(ProblemCode.LimitReached,
                $"{field} has at most {most} elements (Limits:{nameof(LimitOptions.MaxElements)}), got more");
        if (Count == Capacity) Reserve(Math.Max(FirstCapacity, 2L * Count));
        var free = _elements!.Span<T>(Capacity)[Count..];
        var read = cursor.ReadNumbers(free);
        if (read == 0)
        {
            free[0] = ReadElement(ref cursor);
            read = 1;
        }
        Count += read;
        return read;
    }

    private readonly T ReadElement(ref JsonCursor cursor)
    {
        if (cursor.TryTakeNonFinite(out var nonFinite)) return T.CreateTruncating(nonFinite);
        var reader = cursor.Value();
        cursor.Advance(reader.BytesConsumed);
        if (reader.TokenType == JsonTokenType.Number)
        {
            var value = typeof(T) == typeof(float) ? T.CreateTruncating(reader.GetSingle()) : T.CreateTruncating(reader.GetDouble());
            if (T.IsFinite(value)) return value;
            if (typeof(T) == typeof(float) && double.IsFinite(reader.GetDouble()))
                throw Float32Range.Beyond(field, Count, JsonToken.Describe(ref reader));
            throw new ProblemException(ProblemCode.NonFiniteInput,
                $"{field} element {Count} is {JsonToken.Describe(ref reader)}, {Float32Range.BeyondFloat64}; " +
                "infinities are sent as \"Infinity\" or \"-Infinity\"");
        }
        if (reader.TokenType == JsonTokenType.String)
        {
            if (reader.ValueTextEquals("NaN"u8)) return T.NaN;
            if (reader.ValueTextEquals("Infinity"u8)) return T.PositiveInfinity;
            if (reader.ValueTextEquals("-Infinity"u8)) return T.NegativeInfinity;
        }
        throw new ProblemException(ProblemCode.MalformedBody,
            $"{field}: element {Count} must be a number, \"NaN\", \"Infinity\" or \"-Infinity\", got {JsonToken.Describe(ref reader)}");
    }

    private readonly ProblemException Ragged(int depth) =>
        Mismatch($"{field} is ragged: its arrays at depth {depth + 1} differ in length or depth");

    private static ProblemException Mismatch(string detail) => new(ProblemCode.ShapeMismatch, detail);
}
