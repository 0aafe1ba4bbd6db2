using System.Globalization;
using System.Text;
using System.Text.Json;
using BnService.Api.Wire.Json;

namespace BnService.Api.Tests.Wire.Json;

/// <summary>Floats are written as .NET writes them: in the fewest digits that are read as the same float, and of those the nearest.</summary>
public sealed class ShortestFloatTests
{
    private const int Seed = 20_261_122;

    [Theory]
    [InlineData(0f, "0")]
    [InlineData(-0f, "-0")]
    [InlineData(1f, "1")]
    [InlineData(-1.5f, "-1.5")]
    [InlineData(0.1f, "0.1")]
    [InlineData(100f, "100")]
    [InlineData(16777216f, "16777216")]
    [InlineData(12345.678f, "12345.678")]
    [InlineData(99999990f, "99999990")]
    [InlineData(1e8f, "100000000")]
    [InlineData(123456790f, "123456790")]
    [InlineData(1e9f, "1E+09")]
    [InlineData(0.001f, "0.001")]
    [InlineData(0.00012345679f, "0.00012345679")]
    [InlineData(0.000012345679f, "1.2345679E-05")]
    [InlineData(1e-5f, "1E-05")]
    [InlineData(float.MaxValue, "3.4028235E+38")]
    [InlineData(float.MinValue, "-3.4028235E+38")]
    [InlineData(float.Epsilon, "1E-45")]
    [InlineData(1.17549435e-38f, "1.1754944E-38")]
    [InlineData(9.8e-45f, "1E-44")]
    [InlineData(8589973000f, "8.589974E+09")]
    public void A_float_is_written_as_one_would_expect(float value, string text) => Assert.Equal(text, Write(value));

    [Fact]
    public void Powers_of_two_and_of_ten_and_their_neighbours_are_the_shortest()
    {
        for (var exponent = -149; exponent <= 127; exponent++) CheckAround((float)Math.ScaleB(1, exponent));
        for (var exponent = -45; exponent <= 38; exponent++) CheckAround(float.Parse($"1e{exponent}", CultureInfo.InvariantCulture));
        for (var value = 0; value <= 1 << 24; value += value < 100_000 ? 1 : 4099) CheckAround(value);
        CheckAround(0.5f);
        CheckAround(float.MaxValue);
        CheckAround(BitConverter.UInt32BitsToSingle(0x0080_0000));
    }

    [Fact]
    public void All_exponents_with_random_fractions_are_the_shortest() => Fuzz.Run(Seed, 100, 20_000, random =>
    {
        for (var exponent = 0u; exponent < 255; exponent++)
            Check(BitConverter.UInt32BitsToSingle((exponent << 23) | (uint)random.Next(1 << 23) | ((uint)random.Next(2) << 31)));
    });

    [Fact]
    public void Random_bits_are_the_shortest() => Fuzz.Run(Seed, 100, 40_000, random =>
    {
        for (var i = 0; i < 1000; i++) Check(NumberTexts.Single(random));
    });

    // Those beside it as well, in both signs.
    private static void CheckAround(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        for (var offset = -3; offset <= 3; offset++)
        {
            var neighbour = BitConverter.UInt32BitsToSingle((uint)Math.Max(0, bits + offset));
            if (!float.IsFinite(neighbour)) continue;
            Check(neighbour);
            Check(-neighbour);
        }
    }

    private static void Check(float value)
    {
        var text = Write(value);
        var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(text));
        if (!reader.Read() || reader.TokenType != JsonTokenType.Number
            || BitConverter.SingleToUInt32Bits(reader.GetSingle()) != BitConverter.SingleToUInt32Bits(value)) Assert.Fail($"{value:R} is written as {text}");
        if (text != value.ToString("R", CultureInfo.InvariantCulture)) Assert.Fail($"{value:R} is written as {text}");
    }

    private static string Write(float value)
    {
        Span<byte> text = stackalloc byte[ShortestFloat.Reach + 8];
        text.Fill(0xFF);
        var length = ShortestFloat.Write(value, ref text[0]);
        Assert.True(text[ShortestFloat.Reach..].IndexOfAnyExcept((byte)0xFF) < 0, "written behind its reach");
        return Encoding.ASCII.GetString(text[..length]);
    }
}
