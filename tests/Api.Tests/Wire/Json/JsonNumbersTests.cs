using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Tests.Wire.Json;

/// <summary>Numbers read in place are those that System.Text.Json reads, bit by bit, and what it refuses is refused.</summary>
public sealed class JsonNumbersTests
{
    private const int Seed = 20_261_121;

    // The last bytes of a text are read in another way than the others.
    private static readonly string Behind = new(' ', 64);

    public static TheoryData<string> NoNumbers => new()
    {
        "01", "-01", "00", "00.5", "-00", "+1", ".5", "-.5", "1.", "-1.", "1.e5", "0.", "1e", "1E", "1e+", "1e-", "1.5e", "1e1.5", "1e5e5",
        "--1", "-", "+", "1-", "1+1", "- 1", "1 2", "1.2.3", "1..2", "0x10", "1f", "1d", "1_000", "1,", ",1", ",", "1,,2", "1;2", "1\t2",
        "NaNs", "nan", "Infinity.", "--Infinity", "-infinity", "Infinity0", "inf", "1e5 x", "١", "½", "1\u00a02", "1\f", "\v1", "1\0", "\u20281", "1/", "1//2", "1/**/", "tru",
        "00000000000000000000000000001", "1.0000000000000000000000000000000000000000000000000x", "12345678901234567890a", "1e99999x", "\"NaN", "\"Na\nN\"",
    };

    public static TheoryData<string> OtherValues => new()
    {
        "true", "false", "null", "{}", "\"\"", "\"1\"", "\"nan\"", "\"NAN\"", "\"Infinity \"", "\"+Infinity\"", "\"inf\"", "\"\\ud83d\\ude00\"",
    };

    public static TheoryData<string, float> OtherForms => new()
    {
        { "\"NaN\"", float.NaN }, { "\"Infinity\"", float.PositiveInfinity }, { "\"-Infinity\"", float.NegativeInfinity },
        { "NaN", float.NaN }, { "Infinity", float.PositiveInfinity }, { "-Infinity", float.NegativeInfinity },
        { "\"\\u004eaN\"", float.NaN }, { "\"\\u002dInfinity\"", float.NegativeInfinity }, { "-0", -0.0f }, { "0", 0 }, { "-0.0e-5", -0.0f },
        { "1e5", 1e5f }, { "1E+5", 1e5f }, { "1e-5", 1e-5f }, { "1e0000000000000000005", 1e5f }, { "0e99999999999999999999", 0 }, { "-1e-99999999999999999999", -0.0f },
        { "3.4028235677973362e38", float.MaxValue }, { "-3.4028234663852886e38", float.MinValue }, { "1e-45", float.Epsilon }, { "7e-46", 0 },
        { "\r\n\t 1.5 \t\r\n", 1.5f }, { "16777217", 16777216 }, { "16777219", 16777220 }, { "100000000000000000000000000000000000000e-38", 1 },
    };

    public static TheoryData<string> BeyondFloat => new()
    {
        "1e39", "-1e39", "3.4028236e38", "340282366920938463463374607431768211456", "1e400", "1e99999", "-1e99999999999999999999",
        "3.4028235677973367e38", "9999999999999999999999999999999999999999999999999999999999",
    };

    [Theory]
    [MemberData(nameof(NoNumbers))]
    public void What_is_no_JSON_is_refused_wherever_it_stands(string text)
    {
        foreach (var array in Placed(text))
        {
            Assert.ThrowsAny<JsonException>(() => JsonDocument.Parse(array));
            var refusal = Record.Exception(() => Read<float>(array));
            // Some begin like a value of another type, which is told first.
            Assert.True(refusal is JsonException or ProblemException { Code.Code: "malformed-body" }, $"{array}: {refusal}");
        }
    }

    [Theory]
    [MemberData(nameof(OtherValues))]
    public void What_is_JSON_and_no_number_is_refused_by_its_place(string text)
    {
        var refusal = Assert.Throws<ProblemException>(() => Read<float>($"[1,2,{text},3]{Behind}"));
        Assert.Equal(ProblemCode.MalformedBody, refusal.Code);
        Assert.StartsWith("x: element 2 must be a number, \"NaN\", \"Infinity\" or \"-Infinity\", got ", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(OtherForms))]
    public void Every_form_of_a_number_is_read_wherever_it_stands(string text, float expected)
    {
        foreach (var array in Placed(text))
        {
            var read = Read<float>(array).Elements;
            Assert.Contains(BitConverter.SingleToUInt32Bits(expected), read.Select(BitConverter.SingleToUInt32Bits));
        }
    }

    [Theory]
    [MemberData(nameof(BeyondFloat))]
    public void Numbers_beyond_float_are_not_finite_and_doubles_as_long_as_they_are(string text)
    {
        foreach (var array in Placed(text))
        {
            var refusal = Assert.Throws<ProblemException>(() => Read<float>(array));
            Assert.Equal(ProblemCode.NonFiniteInput, refusal.Code);
            var value = double.Parse(text, CultureInfo.InvariantCulture);
            var range = double.IsFinite(value) ? "beyond float32's range (±3.4028235e38)" : "beyond float64's range (±1.7976931348623157e308)";
            Assert.Contains(range, refusal.Message, StringComparison.Ordinal);
            if (double.IsFinite(value)) Assert.Contains(value, Read<double>(array).Elements);
            else Assert.Contains("beyond float64", Assert.Throws<ProblemException>(() => Read<double>(array)).Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("[]", "[0]")]
    [InlineData(" [ ] ", "[0]")]
    [InlineData("[1]", "[1]")]
    [InlineData("[[1,2,3],[4,5,6]]", "[2, 3]")]
    [InlineData(" [\n [ 1 , 2 ] ,\t[ 3 , 4 ]\r] ", "[2, 2]")]
    [InlineData("[[],[]]", "[2, 0]")]
    [InlineData("[[[[[[[[1,\"NaN\"]]]]]]]]", "[1, 1, 1, 1, 1, 1, 1, 2]")]
    public void Nested_arrays_have_the_shape_that_they_show(string text, string shape)
    {
        Assert.Equal(shape, Read<float>(text).Shape.ToString());
        Assert.Equal(shape, Read<double>(text + Behind).Shape.ToString());
    }

    [Theory]
    [InlineData("[1,]")]
    [InlineData("[,]")]
    [InlineData("[[1],]")]
    [InlineData("[[1,],[2]]")]
    [InlineData("[[1][2]]")]
    [InlineData("[[1] [2]]")]
    [InlineData("[[1,2]")]
    [InlineData("[[1,2],")]
    [InlineData("[1,2}")]
    [InlineData("[")]
    [InlineData("[[")]
    [InlineData("[1")]
    [InlineData("[1,")]
    public void Brackets_and_commas_are_where_they_belong(string text)
    {
        Assert.ThrowsAny<JsonException>(() => Read<float>(text));
        Assert.ThrowsAny<JsonException>(() => Read<float>(text + Behind));
    }

    /// <summary>A number that is merely read in the slow way would be right as well: the fast one has to take those that are usual.</summary>
    [Theory]
    [InlineData("R")]
    [InlineData("E8")]
    [InlineData("F9")]
    public void Usual_numbers_are_read_in_place(string format)
    {
        var random = new Random(Seed);
        var values = Enumerable.Range(0, 1000).Select(_ => (float)(random.NextDouble() - 0.5) * 100).ToArray();
        foreach (var texts in new[] { values.Select(v => v.ToString(format, CultureInfo.InvariantCulture)), values.Select(v => ((double)v).ToString("R", CultureInfo.InvariantCulture)) })
        {
            var position = 0;
            Assert.Equal(1000, JsonNumbers.Read(Encoding.UTF8.GetBytes(string.Join(',', texts) + Behind), ref position, new float[1001]));
            position = 0;
            Assert.Equal(1000, JsonNumbers.Read(Encoding.UTF8.GetBytes(string.Join(" , ", texts) + Behind), ref position, new double[1000]));
        }
    }

    [Fact]
    public void Floats_have_the_bits_that_the_serializer_gives_them() => Fuzz.Run(Seed, 4_000, 200_000, random =>
        SameBits<float>(random, static (ref reader) => reader.GetSingle()));

    [Fact]
    public void Doubles_have_the_bits_that_the_serializer_gives_them() => Fuzz.Run(Seed, 1_000, 50_000, random =>
        SameBits<double>(random, static (ref reader) => reader.GetDouble()));

    private delegate T Get<T>(ref Utf8JsonReader reader);

    private static void SameBits<T>(Random random, Get<T> get)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
    {
        var (texts, expected) = (new List<string>(), new List<T>());
        while (texts.Count < 50)
        {
            var text = NumberTexts.Any(random);
            var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(text));
            Assert.True(reader.Read());
            var value = get(ref reader);
            if (!T.IsFinite(value)) continue;
            texts.Add(text);
            expected.Add(value);
        }
        var read = Read<T>($"[{string.Join(random.Next(4) == 0 ? " ,\n" : ",", texts)}]").Elements;
        Assert.Equal(texts.Count, read.Length);
        for (var i = 0; i < read.Length; i++)
        {
            // Equal bits: zeros differ in their sign.
            if (!read[i].Equals(expected[i]) || T.IsNegative(read[i]) != T.IsNegative(expected[i]))
                Assert.Fail($"{texts[i]} is {expected[i]:R}, was read as {read[i]:R}");
        }
    }

    private static string[] Placed(string text) =>
    [
        $"[{text}]", $"[{text}]{Behind}", $"[{text},1]{Behind}", $"[1,{text}]{Behind}", $"[1.25,{text},1e5]{Behind}", $"[1,{text}]", $"[[1,{text}]]{Behind}",
    ];

    private static (Shape Shape, T[] Elements) Read<T>(string text)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>, IMinMaxValue<T>
    {
        var cursor = new JsonCursor(Encoding.UTF8.GetBytes(text));
        var reader = new JsonArrayReader<T>("x");
        try
        {
            var shape = reader.Read(ref cursor);
            if (!cursor.IsAtEnd()) throw new JsonException("it goes on");
            using var elements = reader.TakeElements();
            return (shape, elements.Span<T>(reader.Count).ToArray());
        }
        finally
        {
            reader.Dispose();
        }
    }
}
