using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace BnService.Api.Wire.Json;

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
