using System.Numerics;
using BnService.Api.Wire;

namespace BnService.Api.Tests.Wire;

/// <summary>Elements of every type, against what their bits mean.</summary>
public sealed class ElementTypeTests
{
    [Theory]
    [InlineData(ElementType.F16, 10, 15)]
    [InlineData(ElementType.BF16, 7, 127)]
    public void Every_pattern_of_16_bits_is_the_number_that_it_means(ElementType type, int mantissaBits, int bias)
    {
        var bytes = new byte[2 << 16];
        for (var pattern = 0; pattern < 1 << 16; pattern++) BitConverter.TryWriteBytes(bytes.AsSpan(2 * pattern), (ushort)pattern);
        var values = new float[1 << 16];
        type.ToSingles(bytes, values);
        for (var pattern = 0; pattern < 1 << 16; pattern++)
        {
            var meant = Meaning(pattern, mantissaBits, bias);
            if (double.IsNaN(meant)) Assert.True(float.IsNaN(values[pattern]), $"{pattern:x4} is {values[pattern]}");
            else Assert.True(BitConverter.DoubleToInt64Bits(values[pattern]) == BitConverter.DoubleToInt64Bits(meant), $"{pattern:x4} is {values[pattern]}, not {meant}");
        }
        // And back: each pattern is its own nearest. A NaN stays one.
        var back = new byte[bytes.Length];
        type.FromSingles(values, back);
        for (var pattern = 0; pattern < 1 << 16; pattern++)
        {
            if (float.IsNaN(values[pattern])) Assert.True(double.IsNaN(Meaning(BitConverter.ToUInt16(back, 2 * pattern), mantissaBits, bias)), $"{pattern:x4}");
            else Assert.Equal(pattern, BitConverter.ToUInt16(back, 2 * pattern));
        }
    }

    /// <summary>At the middle between two neighbours, beside it, at the ends of the range, and anywhere.</summary>
    [Theory]
    [InlineData(ElementType.F16, 10, 15)]
    [InlineData(ElementType.BF16, 7, 127)]
    public void Floats_are_rounded_to_the_nearest_and_ties_to_even(ElementType type, int mantissaBits, int bias)
    {
        var values = new List<float>();
        var infinity = ((1 << (15 - mantissaBits)) - 1) << mantissaBits;
        for (var pattern = 0; pattern < infinity; pattern++)
        {
            var (low, high) = (Meaning(pattern, mantissaBits, bias), pattern + 1 == infinity ? Math.Pow(2, bias + 1) : Meaning(pattern + 1, mantissaBits, bias));
            var middle = (float)((low / 2) + (high / 2));
            foreach (var value in (float[])[(float)low, float.BitDecrement(middle), middle, float.BitIncrement(middle)]) values.AddRange([value, -value]);
        }
        var random = new Random(1);
        for (var i = 0; i < 100_000; i++) values.Add(BitConverter.Int32BitsToSingle((int)random.NextInt64(int.MinValue, 1L << 31)));
        values.AddRange([float.MaxValue, float.Epsilon, float.PositiveInfinity, float.NegativeInfinity, -float.Epsilon]);
        var bytes = new byte[2 * values.Count];
        type.FromSingles(values.ToArray(), bytes);
        for (var i = 0; i < values.Count; i++)
        {
            if (float.IsNaN(values[i])) continue;
            var expected = Nearest(values[i], mantissaBits, bias);
            Assert.True(expected == BitConverter.ToUInt16(bytes, 2 * i), $"{values[i]:R} became {BitConverter.ToUInt16(bytes, 2 * i):x4}, not {expected:x4}");
        }
    }

    [Fact]
    public void Doubles_are_rounded_to_the_nearest_and_ties_to_even()
    {
        var values = new List<double> { 0, -0.0, double.Epsilon, -double.Epsilon, double.MaxValue, double.MinValue, double.PositiveInfinity, double.NegativeInfinity, float.MaxValue, 3.4028235677973366e38, 3.4028235677973362e38 };
        var random = new Random(2);
        for (var i = 0; i < 50_000; i++)
        {
            var low = BitConverter.Int32BitsToSingle(random.Next(0, 0x7F7FFFFF));
            var middle = (low / 2.0) + (float.BitIncrement(low) / 2.0);
            values.AddRange([low, middle, Math.BitIncrement(middle), Math.BitDecrement(middle), -middle, -Math.BitIncrement(middle), -Math.BitDecrement(middle)]);
        }
        var floats = new float[values.Count];
        ElementType.F64.ToSingles(System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.ToArray().AsSpan()), floats);
        for (var i = 0; i < floats.Length; i++)
        {
            var expected = NearestSingle(values[i]);
            Assert.True(BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(floats[i]), $"{values[i]:R} became {floats[i]:R}, not {expected:R}");
        }
    }

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.F64)]
    public void Wide_types_hold_every_float(ElementType type)
    {
        float[] values = [0, -0f, 1, float.Epsilon, -float.Epsilon, float.MaxValue, float.MinValue, 1.1754942e-38f, float.PositiveInfinity, float.NegativeInfinity, float.NaN];
        var (bytes, back) = (new byte[values.Length * type.Size()], new float[values.Length]);
        type.FromSingles(values, bytes);
        type.ToSingles(bytes, back);
        Assert.Equal(values.Select(BitConverter.SingleToInt32Bits), back.Select(BitConverter.SingleToInt32Bits));
    }

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.F64)]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void Elements_may_lie_at_any_address(ElementType type)
    {
        var values = Enumerable.Range(-40, 81).Select(value => value / 4f).ToArray();
        for (var offset = 0; offset < 9; offset++)
        {
            var (bytes, back) = (new byte[(values.Length * type.Size()) + offset], new float[values.Length]);
            type.FromSingles(values, bytes.AsSpan(offset));
            type.ToSingles(bytes.AsSpan(offset), back);
            Assert.Equal(values, back);
        }
    }

    [Theory]
    [InlineData(ElementType.F64)]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void What_is_not_a_number_is_none_in_any_type(ElementType type)
    {
        // Quiet and signalling, and payloads whose upper bits alone would mean an infinity.
        float[] values = [.. ((int[])[0x7FC00000, 0x7F800001, unchecked((int)0xFF800001), 0x7F80FFFF, 0x7FFFFFFF, -1]).Select(BitConverter.Int32BitsToSingle)];
        var (bytes, back) = (new byte[values.Length * type.Size()], new float[values.Length]);
        type.FromSingles(values, bytes);
        type.ToSingles(bytes, back);
        Assert.All(back, value => Assert.True(float.IsNaN(value)));
    }

    // By the definition of the format: sign, exponent, mantissa.
    private static double Meaning(int pattern, int mantissaBits, int bias)
    {
        var sign = (pattern & 0x8000) == 0 ? 1.0 : -1.0;
        var (exponent, mantissa) = ((pattern & 0x7FFF) >> mantissaBits, pattern & ((1 << mantissaBits) - 1));
        if (exponent == (1 << (15 - mantissaBits)) - 1) return mantissa == 0 ? sign * double.PositiveInfinity : double.NaN;
        return exponent == 0
            ? sign * mantissa * Math.Pow(2, 1 - bias - mantissaBits)
            : sign * (mantissa + (1 << mantissaBits)) * Math.Pow(2, exponent - bias - mantissaBits);
    }

    // The pattern whose number is nearest, by comparing exact distances; patterns of one sign are in the order of their numbers.
    private static int Nearest(float value, int mantissaBits, int bias)
    {
        var sign = float.IsNegative(value) ? 0x8000 : 0;
        var (low, high) = (0, ((1 << (15 - mantissaBits)) - 1) << mantissaBits);
        if (float.IsInfinity(value)) return sign | high;
        var infinity = high;
        while (high - low > 1)
        {
            var middle = low + ((high - low) / 2);
            if (Meaning(middle, mantissaBits, bias) <= Math.Abs((double)value)) low = middle;
            else high = middle;
        }
        // Beyond the largest number the next one would be a power of two.
        var above = high == infinity ? Math.Pow(2, bias + 1) : Meaning(high, mantissaBits, bias);
        var (toLow, toHigh) = (Exact(Math.Abs((double)value)) - Exact(Meaning(low, mantissaBits, bias)), Exact(above) - Exact(Math.Abs((double)value)));
        return sign | (toLow < toHigh || (toLow == toHigh && low % 2 == 0) ? low : high);
    }

    private static float NearestSingle(double value)
    {
        if (!double.IsFinite(value)) return value > 0 ? float.PositiveInfinity : float.NegativeInfinity;
        var (low, high) = (0, 0x7F800000);
        while (high - low > 1)
        {
            var middle = low + ((high - low) / 2);
            if (BitConverter.Int32BitsToSingle(middle) <= Math.Abs(value)) low = middle;
            else high = middle;
        }
        var above = high == 0x7F800000 ? Math.Pow(2, 128) : BitConverter.Int32BitsToSingle(high);
        var (toLow, toHigh) = (Exact(Math.Abs(value)) - Exact(BitConverter.Int32BitsToSingle(low)), Exact(above) - Exact(Math.Abs(value)));
        var nearest = BitConverter.Int32BitsToSingle(toLow < toHigh || (toLow == toHigh && low % 2 == 0) ? low : high);
        return double.IsNegative(value) ? -nearest : nearest;
    }

    // A finite double in units of the smallest one.
    private static BigInteger Exact(double value)
    {
        var bits = BitConverter.DoubleToInt64Bits(value);
        var (exponent, mantissa) = ((int)((bits >> 52) & 0x7FF), bits & ((1L << 52) - 1));
        return exponent == 0 ? mantissa : (BigInteger)(mantissa | (1L << 52)) << (exponent - 1);
    }
}
