using System.Text.Json;
using BnService.Api.Errors;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>Reads arrays of float64, which stand where a layer's parameters do: flat, or an array of them.</summary>
internal static class JsonNumberArrays
{
    private const int FirstCapacity = 64;

    /// <summary>Reads the array that comes.</summary>
    /// <exception cref="ProblemException">An element is no number, or there are too many.</exception>
    public static double[] Read(ref JsonCursor cursor, string field, MessageLimits limits)
    {
        // It grows in pooled memory, and is an array when its length is known.
        Span<double> numbers = stackalloc double[FirstCapacity];
        NativeBuffer? grown = null;
        try
        {
            var (count, isFirst) = (0, true);
            cursor.Open('[');
            while (cursor.Next(']', ref isFirst))
            {
                if (count >= limits.MostNumbers) throw limits.TooManyNumbers(field);
                if (count == numbers.Length)
                {
                    var capacity = (int)Math.Min(2L * count, limits.MostNumbers);
                    var larger = NativeBuffer.Rent((long)capacity * sizeof(double));
                    numbers.CopyTo(larger.Span<double>(capacity));
                    grown?.Dispose();
                    grown = larger;
                    numbers = larger.Span<double>(capacity);
                }
                var read = cursor.ReadNumbers(numbers[count..]);
                if (read == 0)
                {
                    numbers[count] = ReadNumber(ref cursor, field, count);
                    read = 1;
                }
                count += read;
            }
            if (grown is not null) MemoryAccount.Hold((long)count * sizeof(double));
            return numbers[..count].ToArray();
        }
        finally
        {
            grown?.Dispose();
        }
    }

    public static double[][] ReadMany(ref JsonCursor cursor, string field, MessageLimits limits, int most)
    {
        var arrays = new List<double[]>();
        var isFirst = true;
        cursor.Open('[');
        while (cursor.Next(']', ref isFirst))
        {
            if (arrays.Count == most) throw MessageLimits.TooMany(field, most);
            var name = $"{field}[{arrays.Count}]";
            if (cursor.Peek() != '[') throw Invalid($"{name} must be an array of numbers, got {cursor.Describe()}");
            arrays.Add(Read(ref cursor, name, limits));
        }
        return [.. arrays];
    }

    private static double ReadNumber(ref JsonCursor cursor, string field, int index)
    {
        if (cursor.TryTakeNonFinite(out var nonFinite)) return nonFinite;
        var reader = cursor.Value();
        var number = reader.TokenType switch
        {
            JsonTokenType.Number => reader.GetDouble(),
            JsonTokenType.String when reader.ValueTextEquals("NaN"u8) => double.NaN,
            JsonTokenType.String when reader.ValueTextEquals("Infinity"u8) => double.PositiveInfinity,
            JsonTokenType.String when reader.ValueTextEquals("-Infinity"u8) => double.NegativeInfinity,
            _ => throw Invalid($"{field}[{index}] must be a number, \"NaN\", \"Infinity\" or \"-Infinity\", " +
                $"got {JsonToken.Describe(ref reader)}"),
        };
        if (reader.TokenType == JsonTokenType.Number && !double.IsFinite(number))
            throw Invalid($"{field}[{index}] must be a finite number, got {JsonToken.Describe(ref reader)}, {Float32Range.BeyondFloat64}");
        cursor.Advance(reader.BytesConsumed);
        return number;
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
