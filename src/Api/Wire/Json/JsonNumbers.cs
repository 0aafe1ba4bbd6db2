using System.Buffers.Binary;
using System.Buffers.Text;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Reads the numbers of a JSON array from its bytes, eight digits at a time. It takes only what is plainly a number, and leaves
/// everything else (other values, flaws, hundreds of digits, the last bytes of a text) to its caller: so it can be fast where tensors
/// spend their time, and one reader alone knows the whole grammar.
/// </summary>
internal static class JsonNumbers
{
    // No load reaches further than this from a number's beginning: a sign, 19 digits, a point, 24 digits, e, a sign, 4 digits and what
    // follows.
    private const int Reach = 64;
    private const int MostDigits = 19; // of which a ulong holds any
    private const int MostExponentDigits = 4;

    private static ReadOnlySpan<uint> PowersOfTen => [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

    /// <summary>Reads numbers that are separated by commas.</summary>
    /// <typeparam name="T">float or double, to which each is rounded correctly.</typeparam>
    /// <param name="position">Where an item of an array comes; afterwards after the last one that was read.</param>
    /// <returns>How many were read: 0 says nothing but that the first is not plain.</returns>
    public static int Read<T>(ReadOnlySpan<byte> json, ref int position, Span<T> destination)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        ref var first = ref MemoryMarshal.GetReference(json);
        var (count, at, last) = (0, position, json.Length - Reach);
        while (count < destination.Length)
        {
            at = SkipWhiteSpace(ref first, at, last);
            if (at > last || !TryRead(ref Unsafe.Add(ref first, at), out T value, out var length)) break;
            destination[count++] = value;
            position = at += length;
            if (Unsafe.Add(ref first, at) != ',')
            {
                at = SkipWhiteSpace(ref first, at, last);
                if (at > last || Unsafe.Add(ref first, at) != ',') break;
            }
            at++;
        }
        return count;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int SkipWhiteSpace(ref byte first, int at, int last)
    {
        // Nothing that an array goes on with lies below the comma.
        while (at <= last && Unsafe.Add(ref first, at) is <= (byte)' ' and var space)
        {
            if (space is not ((byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t')) break;
            at++;
        }
        return at;
    }

    // The value is significand · 10^exponent. Few branches, and none on what is as good as random: the sign, the last digits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryRead<T>(ref byte number, out T value, out int length)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        value = default;
        var start = number == '-' ? 1 : 0;
        length = start;
        ulong significand = 0;
        for (uint digit; (digit = Digit(ref number, length)) <= 9; length++)
        {
            if (length - start == MostDigits) return false;
            significand = (significand * 10) + digit;
        }
        var (digits, exponent) = (length - start, 0);
        if (digits != 1 && (digits == 0 || Unsafe.Add(ref number, start) == '0')) return false;
        if (Unsafe.Add(ref number, length) == '.')
        {
            length++;
            var fraction = ReadFraction(ref number, ref length, ref significand);
            if (fraction == 0) return false;
            digits += fraction;
            exponent = -fraction;
        }
        if ((Unsafe.Add(ref number, length) | 0x20) == 'e' && !TryReadExponent(ref number, ref length, ref exponent)) return false;
        if (digits > MostDigits && digits - LeadingZeros(ref Unsafe.Add(ref number, start)) > MostDigits) return false;
        if (DecimalRounding.TryRound(isNegative: start, significand, exponent, out value)) return true;
        value = ReadExactly<T>(MemoryMarshal.CreateReadOnlySpan(ref number, length));
        return T.IsFinite(value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Digit(ref byte number, int at) => (uint)(Unsafe.Add(ref number, at) - '0');

    // At most three words of eight digits, of which two are always taken. Returns how many digits there are; 0 if none, or more of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ReadFraction(ref byte number, ref int length, ref ulong significand)
    {
        var first = LoadDigits(ref Unsafe.Add(ref number, length), out var digits);
        var second = LoadDigits(ref Unsafe.Add(ref number, length + 8), out var others);
        others &= -(digits >> 3); // those of the second word count if the first one is full
        significand = (significand * PowersOfTen[digits]) + EightDigits(first, digits);
        significand = (significand * PowersOfTen[others]) + EightDigits(second, others);
        digits += others;
        if (digits == 16)
        {
            var third = LoadDigits(ref Unsafe.Add(ref number, length + 16), out others);
            significand = (significand * PowersOfTen[others]) + EightDigits(third, others);
            digits += others;
            if (digits == 24 && Digit(ref number, length + 24) <= 9) return 0;
        }
        length += digits;
        return digits;
    }

    // Eight bytes, those of digits as 0 to 9; and with how many digits they begin.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong LoadDigits(ref byte from, out int digits)
    {
        var word = Unsafe.ReadUnaligned<ulong>(ref from);
        if (!BitConverter.IsLittleEndian) word = BinaryPrimitives.ReverseEndianness(word);
        word ^= 0x3030_3030_3030_3030;
        // 0 to 9 set no bit 7 when 0x76 is added. A carry comes only out of a byte that was no digit, after which nothing counts.
        digits = BitOperations.TrailingZeroCount(((word + 0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080) >> 3;
        return word;
    }

    // The number that the first digits of a word are: with zeros before them, pairs, then pairs of pairs, in three multiplications.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint EightDigits(ulong word, int digits)
    {
        const ulong everyFourth = 0x0000_00FF_0000_00FF;
        var halfShift = 32 - (4 * digits); // a whole one, by 64 where there is no digit, would be none
        word = word << halfShift << halfShift;
        word = (word * 10) + (word >> 8);
        var (odd, even) = (word & everyFourth, (word >> 16) & everyFourth);
        return (uint)(((odd * (100 + (1_000_000ul << 32))) + (even * (1 + (10_000ul << 32)))) >> 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryReadExponent(ref byte number, ref int length, ref int exponent)
    {
        var sign = Unsafe.Add(ref number, ++length);
        if (sign is (byte)'+' or (byte)'-') length++;
        var (start, value) = (length, 0);
        for (uint digit; (digit = Digit(ref number, length)) <= 9; length++)
        {
            if (length - start == MostExponentDigits) return false;
            value = (value * 10) + (int)digit;
        }
        exponent += sign == '-' ? -value : value;
        return length > start;
    }

    private static int LeadingZeros(ref byte digits)
    {
        var (zeros, at) = (0, 0);
        for (; Unsafe.Add(ref digits, at) is (byte)'0' or (byte)'.'; at++) zeros += Unsafe.Add(ref digits, at) == '0' ? 1 : 0;
        return zeros;
    }

    // Numbers beyond the type's range become infinite, of which the caller has to say so.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static T ReadExactly<T>(ReadOnlySpan<byte> number)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (typeof(T) == typeof(float)) return Utf8Parser.TryParse(number, out float single, out _) ? T.CreateTruncating(single) : T.NaN;
        return Utf8Parser.TryParse(number, out double value, out _) ? T.CreateTruncating(value) : T.NaN;
    }
}

/// <summary>
/// Rounds decimals to binary with one multiplication, where that is certain to give the nearest value. For a double it is where both
/// operands are exact (W. D. Clinger, "How to Read Floating Point Numbers Accurately", PLDI 1990); for a float nearly everywhere, as a
/// double's error is far smaller than what a float cuts off.
/// </summary>
internal static class DecimalRounding
{
    private const int SmallestPower = -64; // 19 digits · 10^-64 is far below the smallest normal float
    private const int LargestPower = 38;
    private const int LargestExactPower = 22; // 5^22 < 2^53
    private const int BitsBehindFloat = 52 - 23;

    // In units of a double's last place. The significand, its power and their product are each rounded, by at most 2^-53 of themselves:
    // together the product is off by 3 units at most.
    private const ulong Tolerance = 8;

    private static readonly double[] Powers = [.. Enumerable.Range(SmallestPower, LargestPower - SmallestPower + 1)
        .Select(power => double.Parse($"1e{power}", CultureInfo.InvariantCulture))];

    private static readonly ulong SmallestNormal = BitConverter.DoubleToUInt64Bits(Math.ScaleB(1, -126));
    private static readonly ulong LargestNormal = BitConverter.DoubleToUInt64Bits(float.MaxValue);

    /// <summary>Rounds ±<paramref name="significand"/> · 10^<paramref name="exponent"/> to the nearest value, ties to even.</summary>
    /// <typeparam name="T">float or double.</typeparam>
    /// <returns>false where it is not certain what the nearest is.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryRound<T>(int isNegative, ulong significand, int exponent, out T value)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        bool isCertain;
        if (typeof(T) == typeof(float))
        {
            isCertain = TryRound(significand, exponent, out float single);
            value = T.CreateTruncating(BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(single) | ((uint)isNegative << 31)));
        }
        else
        {
            isCertain = TryRound(significand, exponent, out double rounded);
            value = T.CreateTruncating(isNegative == 0 ? rounded : -rounded);
        }
        return isCertain;
    }

    // A double has 29 bits more than a float: rounding it again is right unless they are so near to one half that the error decides.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryRound(ulong significand, int exponent, out float value)
    {
        const ulong half = 1ul << (BitsBehindFloat - 1), all = (1ul << BitsBehindFloat) - 1;
        value = 0;
        var power = (uint)(exponent - SmallestPower);
        if (power >= (uint)Powers.Length) return false;
        var product = significand * Powers[power];
        var bits = BitConverter.DoubleToUInt64Bits(product);
        value = (float)product;
        // Zeros come as good as at random where an activation made them: no branch for them.
        return ((bits - half + Tolerance) & all) > 2 * Tolerance & (bits == 0 | bits - SmallestNormal <= LargestNormal - SmallestNormal);
    }

    // Both operands are exact, so that the only rounding is that of the result.
    private static bool TryRound(ulong significand, int exponent, out double value)
    {
        value = 0;
        if (significand > 1ul << 53 || Math.Abs(exponent) > LargestExactPower) return false;
        var power = Powers[Math.Abs(exponent) - SmallestPower];
        value = exponent < 0 ? significand / power : significand * power;
        return true;
    }
}
