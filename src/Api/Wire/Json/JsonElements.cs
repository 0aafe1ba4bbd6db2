using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Writes the elements of a JSON array, in shortest round-trip form, straight into the memory of what they are written to. NaN and
/// infinities are the strings <c>"NaN"</c>, <c>"Infinity"</c> and <c>"-Infinity"</c>.
/// </summary>
internal static class JsonElements
{
    private const int Longest = 32; // a comma and the longest double, -1.7976931348623157E+308, or the reach of a float
    private const int LeastBlock = 512; // a block for a few elements costs more than they do

    /// <summary>Writes elements, with a comma between each two.</summary>
    /// <typeparam name="T">float or double.</typeparam>
    /// <param name="chunk">The elements, or the next ones of them.</param>
    /// <param name="isFirst">Whether none were written to the array before; else a comma comes first.</param>
    public static void Write<T>(IBufferWriter<byte> output, ReadOnlySpan<T> chunk, bool isFirst)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var comma = isFirst ? 0 : 1;
        while (!chunk.IsEmpty)
        {
            var block = output.GetSpan(LeastBlock);
            ref var start = ref MemoryMarshal.GetReference(block);
            var (index, at, last) = (0, 0, block.Length - Longest);
            for (; index < chunk.Length && at <= last; index++)
            {
                Unsafe.Add(ref start, at) = (byte)',';
                at += comma;
                comma = 1;
                at += Write(chunk[index], block, at);
            }
            output.Advance(at);
            chunk = chunk[index..];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Write<T>(T element, Span<byte> block, int at)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (!T.IsFinite(element)) return WriteNonFinite(element, block[at..]);
        if (typeof(T) == typeof(float))
            return ShortestFloat.Write(float.CreateTruncating(element), ref Unsafe.Add(ref MemoryMarshal.GetReference(block), at));
        element.TryFormat(block[at..], out var length, default, CultureInfo.InvariantCulture);
        return length;
    }

    private static int WriteNonFinite<T>(T element, Span<byte> block)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var text = T.IsNaN(element) ? "\"NaN\""u8 : T.IsPositive(element) ? "\"Infinity\""u8 : "\"-Infinity\""u8;
        text.CopyTo(block);
        return text.Length;
    }
}

/// <summary>
/// Writes a float as the shortest decimal that is read as the same float, and of those the nearest. After Raffaello Giulietti, "The
/// Schubfach way to render doubles" (2020), with the constants for 24 bits.
/// </summary>
/// <remarks>
/// Around v = c · 2^q lie the decimals that are rounded to it. Of the powers of ten the largest that is not wider than this interval
/// has at least one multiple in it; the next one, if it has any, has a single one. So four candidates are enough.
/// </remarks>
internal static class ShortestFloat
{
    /// <summary>Bytes after the first that may be written to, which is more than any float has.</summary>
    public const int Reach = 24;

    private const int SmallestPower = -31;
    private const int LargestPower = 45;
    private const int MostDigits = 9;
    private const ulong Zeros = 0x3030_3030_3030_3030; // as text

    // 10^k · 2^-⌊log2 10^k⌋ · 2^63, rounded up.
    private static readonly ulong[] Powers = [.. Enumerable.Range(SmallestPower, LargestPower - SmallestPower + 1).Select(Power)];

    private static ReadOnlySpan<uint> PowersOfTen => [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

    /// <summary>Writes a finite float, in the layout of .NET: 0.0001, 1.5 and 123456790, but 1.5E-05 and 1.5E+09.</summary>
    /// <param name="destination">Its first byte; <see cref="Reach"/> bytes must be writable.</param>
    /// <returns>How many bytes the number has.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Write(float value, ref byte destination)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        var sign = (int)(bits >> 31);
        destination = (byte)'-';
        ref var number = ref Unsafe.Add(ref destination, sign);
        if (bits << 1 == 0)
        {
            number = (byte)'0';
            return sign + 1;
        }
        var (digits, exponent) = ToDecimal(bits & 0x7FFF_FFFF);
        return sign + WriteDecimal(digits, exponent, ref number);
    }

    // Figure 4 of the paper, all of it times four: vl and vr are the ends of the interval, v is its middle.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (uint Digits, int Exponent) ToDecimal(uint bits)
    {
        var (fraction, biased) = (bits & 0x7F_FFFF, (int)(bits >> 23));
        var (c, q) = biased == 0 ? (fraction, -149) : (fraction | 0x80_0000, biased - 150);
        // Below a power of two floats are twice as dense.
        var isIrregular = fraction == 0 && biased > 1;
        var k = ((q * 1262611) - (isIrregular ? 524031 : 0)) >> 22; // ⌊log10 2^q⌋, or ⌊log10 (3/4 · 2^q)⌋
        var shift = q + ((-k * 1741647) >> 19) + 1; // ⌊log2 10^-k⌋
        var power = Powers[-k - SmallestPower];
        var vl = RoundToOdd(power, ((4 * c) - (isIrregular ? 1u : 2u)) << shift);
        var v = RoundToOdd(power, (4 * c) << shift);
        var vr = RoundToOdd(power, ((4 * c) + 2) << shift);
        // The ends themselves are rounded to v if its c is even.
        var isOdd = c & 1;
        vl += isOdd;
        vr -= isOdd;
        // Which candidate it is is as good as random: conditions are numbers here, 0 or 1, and nothing branches.
        var s = v / 4;
        var tens = s / 10;
        var (below, above) = (AsNumber(vl <= 40 * tens), AsNumber((40 * tens) + 40 <= vr));
        var isShorter = (below ^ above) & AsNumber(s >= 10);
        var (lower, upper) = (AsNumber(vl <= 4 * s), AsNumber((4 * s) + 4 <= vr));
        var isSingle = lower ^ upper;
        var nearest = AsNumber(v + (s & 1) > (4 * s) + 2);
        var (shorter, longer) = (tens + above, s + (isSingle & upper) + (~isSingle & nearest));
        return (longer ^ ((shorter ^ longer) & (0 - isShorter)), k + (int)isShorter);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint AsNumber(bool condition) => condition ? 1u : 0;

    // ⌊power · c / 2^64⌋, with its last bit set if anything was cut off: enough to compare with.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint RoundToOdd(ulong power, uint c)
    {
        // The lowest 32 of 96 bits are never looked at.
        var product = ((power >> 32) * c) + (((power & uint.MaxValue) * c) >> 32);
        return (uint)(product >> 32) | AsNumber((uint)product > 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int WriteDecimal(uint digits, int exponent, ref byte number)
    {
        // log10 2 is 1233 / 4096; one less where the power of ten lies above.
        var log = ((32 - BitOperations.LeadingZeroCount(digits)) * 1233) >> 12;
        var length = log + (digits >= PowersOfTen[log] ? 1 : 0);
        var point = length + exponent; // the value is 0.ddd · 10^point
        // Nine digits, of which the first is alone and the zeros at the end do not count.
        digits *= PowersOfTen[MostDigits - length];
        var first = digits / 100_000_000;
        var others = EightDigits(digits - (first * 100_000_000));
        length = MostDigits - (BitOperations.LeadingZeroCount(others) >> 3);
        first += '0';
        others |= Zeros;
        if (point is > -4 and <= MostDigits)
        {
            // 0.00ddd, dd.ddd or ddd00, without a branch between the first two: all digits at their place after 0.00 or as if there were
            // no point, then those after the point once more, and the point.
            var isBelowOne = (point - 1) >> 31; // all bits or none
            var before = (point - 1) & ~isBelowOne;
            var zeros = (2 - point) & isBelowOne;
            Store(ref number, 0, Zeros);
            Unsafe.Add(ref number, zeros) = (byte)first;
            Store(ref number, zeros + 1, others);
            Store(ref number, zeros + 1 + ((before + 1) & ~isBelowOne), others >> (8 * before));
            if (length <= point) return point; // no point, and nothing after it that would count
            Unsafe.Add(ref number, before + 1) = (byte)'.';
            return zeros + length + 1 + isBelowOne;
        }
        number = (byte)first;
        Unsafe.Add(ref number, 1) = (byte)'.';
        Store(ref number, 2, others);
        var at = length == 1 ? 1 : length + 1;
        var power = (uint)Math.Abs(point - 1);
        Unsafe.Add(ref number, at) = (byte)'E';
        Unsafe.Add(ref number, at + 1) = (byte)(point > 0 ? '+' : '-');
        Unsafe.Add(ref number, at + 2) = (byte)('0' + (power / 10));
        Unsafe.Add(ref number, at + 3) = (byte)('0' + (power % 10));
        return at + 4;
    }

    // One digit a byte, the first in the lowest: halves, then halves of halves.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong EightDigits(uint value)
    {
        ulong fours = (value / 10_000) | ((ulong)(value % 10_000) << 32);
        var hundreds = ((fours * 10486) >> 20) & 0x0000_007F_0000_007F;
        var twos = hundreds | ((fours - (100 * hundreds)) << 16);
        var tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
        return tens | ((twos - (10 * tens)) << 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ref byte number, int at, ulong text)
    {
        if (!BitConverter.IsLittleEndian) text = BinaryPrimitives.ReverseEndianness(text);
        Unsafe.WriteUnaligned(ref Unsafe.Add(ref number, at), text);
    }

    private static ulong Power(int k)
    {
        var shift = 63 - ((k * 1741647) >> 19);
        if (k < 0) return (ulong)((BigInteger.One << shift) / BigInteger.Pow(10, -k)) + 1;
        var power = BigInteger.Pow(10, k);
        return shift >= 0 ? (ulong)(power << shift) : (ulong)(((power - 1) >> -shift) + 1);
    }
}
