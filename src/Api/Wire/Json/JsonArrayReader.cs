using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text.Json;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Reads an array of numbers, or nested arrays of them, from JSON into pooled memory. NaN and infinities are the strings
/// <c>"NaN"</c>, <c>"Infinity"</c> and <c>"-Infinity"</c>, or these words bare, as Python's json writes them.
/// </summary>
/// <typeparam name="T">float or double.</typeparam>
/// <param name="field">Name of the field, for messages.</param>
/// <param name="most">The most elements: it ends soon behind them, and leaves what it does not to who asks for the shape.</param>
/// <param name="isFlat">Whether nested arrays are refused.</param>
internal ref struct JsonArrayReader<T>(string field, int most = int.MaxValue, bool isFlat = false)
    where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
{
    private const int FirstCapacity = 64;
    private NativeBuffer? _elements;

    /// <summary>Number of elements that were read.</summary>
    public int Count { get; private set; }

    private readonly int Capacity => _elements is null ? 0 : (int)Math.Min(_elements.Length / Unsafe.SizeOf<T>(), int.MaxValue);

    /// <summary>Makes room for elements that are announced.</summary>
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
    /// <exception cref="ProblemException">It is ragged, too deep, or has an element that is no number or beyond the type's range.</exception>
    /// <exception cref="JsonException">It is not JSON.</exception>
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
                    throw Mismatch($"{field}.data must be flat, in row-major order; nested arrays are sent without shape, as {field} itself");
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
            throw new ProblemException(ProblemCode.LimitReached, $"{field} has at most {most} elements (Limits:{nameof(LimitOptions.MaxElements)}), got more");
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
            if (typeof(T) == typeof(float) && double.IsFinite(reader.GetDouble())) throw Float32Range.Beyond(field, Count, JsonToken.Describe(ref reader));
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
