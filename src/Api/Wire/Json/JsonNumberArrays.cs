using System.Text.Json;
using BnService.Api.Hosting.Problems;

namespace BnService.Api.Wire.Json;

/// <summary>Reads arrays of float64, which stand where a layer's parameters do: flat, or an array of them.</summary>
internal static class JsonNumberArrays
{
    private const int FirstCapacity = 64;

    /// <summary>Reads the array that comes.</summary>
    /// <param name="cursor">Where it comes.</param>
    /// <param name="field">Name of the field, for messages.</param>
    /// <exception cref="ProblemException">An element is no number.</exception>
    /// <exception cref="JsonException">It is not JSON.</exception>
    public static double[] Read(ref JsonCursor cursor, string field)
    {
        var numbers = new double[FirstCapacity];
        var (count, isFirst) = (0, true);
        cursor.Open('[');
        while (cursor.Next(']', ref isFirst))
        {
            if (count == numbers.Length) Array.Resize(ref numbers, 2 * count);
            var read = cursor.ReadNumbers(numbers.AsSpan(count));
            if (read == 0)
            {
                numbers[count] = ReadNumber(ref cursor, field, count);
                read = 1;
            }
            count += read;
        }
        return numbers[..count];
    }

    /// <summary>Reads the array of arrays that comes.</summary>
    /// <inheritdoc cref="Read"/>
    public static double[][] ReadMany(ref JsonCursor cursor, string field)
    {
        var arrays = new List<double[]>();
        var isFirst = true;
        cursor.Open('[');
        while (cursor.Next(']', ref isFirst))
        {
            var name = $"{field}[{arrays.Count}]";
            if (cursor.Peek() != '[') throw Invalid($"{name} must be an array of numbers, got {cursor.Describe()}");
            arrays.Add(Read(ref cursor, name));
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
