using System.Globalization;
using System.Numerics;
using System.Text;

namespace BnService.Api.Tests.Wire.Json;

/// <summary>JSON numbers as programs write them, and those that are hard to round.</summary>
internal static class NumberTexts
{
    private static readonly string[] Corners =
    [
        "0", "-0", "0.0", "-0.0", "0e0", "-0E-0", "0e999999999", "-0e-99999999999999999999", "0.000000000000000000000000000000000000000000",
        "1", "-1", "1.0", "10", "1e0", "1E+1", "1e-1", "1e+01", "1e-007", "1e00000000000000000001", "9007199254740993", "18446744073709551615",
        "18446744073709551616", "9999999999999999999", "99999999999999999999", "0.1", "0.5", "16777216", "16777217", "16777218", "16777219",
        "33554433", "33554435", "33554438", "3.4028234663852886e38", "3.4028235e38", "3.40282356e38", "340282346638528859811704183484516925440",
        "340282356779733661637539395458142568447", "1.1754943508222875e-38", "1.1754942e-38", "1.17549429e-38", "1.401298464324817e-45",
        "7.006492321624085e-46", "7.0064923216240853546186479164495e-46", "7.0064923216240853546186479164496e-46", "7e-46", "1e-45", "1e-46", "1e-400",
        "123456789012345678901234567890e-20", "0.00000000000000000001234567890123456789", "8589973000", "8589934592.5", "2147483648",
        "4.4501477170144023e-308", "2.2250738585072014e-308", "4.9e-324", "1.7976931348623157e308", "1e22", "1e23", "1e38",
    ];

    /// <summary>A number, of any size and in any form that the grammar has.</summary>
    public static string Any(Random random) => random.Next(12) switch
    {
        0 => Corners[random.Next(Corners.Length)],
        1 => Text(Single(random), "R"),
        2 => Text(Single(random), "E8"),
        3 => Text((double)Single(random), "R"),
        4 => Text(BitConverter.Int64BitsToDouble(Finite(random.NextInt64())), "R"),
        5 => Text((random.NextDouble() - 0.5) * Math.Pow(10, random.Next(-12, 12)), random.Next(2) == 0 ? "R" : $"F{random.Next(1, 45)}"),
        6 => NearMidpoint(random),
        7 => Text(BitConverter.UInt32BitsToSingle((uint)random.Next(0x80_0000)), random.Next(2) == 0 ? "R" : "E20"),
        8 => Text(BitConverter.UInt32BitsToSingle(0x7F7F_FFFF - (uint)random.Next(100)), "E17"),
        9 => Digits(random, 1, 25),
        10 => $"{Sign(random)}{Digits(random, 1, 22)}.{Digits(random, 1, 30)}",
        _ => $"{Sign(random)}{Digits(random, 1, 10)}.{Digits(random, 1, 10)}{"eE"[random.Next(2)]}{new[] { "", "+", "-" }[random.Next(3)]}{random.Next(50)}",
    };

    /// <summary>A finite float of random bits.</summary>
    public static float Single(Random random)
    {
        while (true)
        {
            var value = BitConverter.UInt32BitsToSingle((uint)random.NextInt64(1L << 32));
            if (float.IsFinite(value)) return value;
        }
    }

    private static string Text<T>(T value, string format)
        where T : IFormattable => value.ToString(format, CultureInfo.InvariantCulture);

    private static long Finite(long bits) => double.IsFinite(BitConverter.Int64BitsToDouble(bits)) ? bits : bits & ~(1L << 62);

    // All digits of what lies half way between two floats, cut off or changed anywhere.
    private static string NearMidpoint(Random random)
    {
        var value = Math.Abs(Single(random));
        var middle = (value + (double)BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) + 1)) / 2;
        if (!double.IsFinite(middle)) return "3.4028235677973366e38";
        var text = new StringBuilder(Text(middle, $"E{random.Next(7, 120)}"));
        if (random.Next(3) > 0) text[text.ToString().IndexOf('E', StringComparison.Ordinal) - 1] = (char)('0' + random.Next(10));
        if (random.Next(3) == 0) text.Insert(text.ToString().IndexOf('E', StringComparison.Ordinal), $"{new string('0', random.Next(5))}1");
        return text.ToString();
    }

    private static string Sign(Random random) => random.Next(2) == 0 ? "-" : "";

    private static string Digits(Random random, int least, int most)
    {
        var digits = new StringBuilder();
        for (var count = random.Next(least, most + 1); count > 0; count--) digits.Append((char)('0' + random.Next(10)));
        return least == 1 && digits.Length > 1 ? BigInteger.Parse(digits.ToString(), CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture) : digits.ToString();
    }
}
