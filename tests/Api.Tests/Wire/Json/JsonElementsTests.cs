using System.Buffers;
using System.Numerics;
using System.Text;
using System.Text.Json;
using BnService.Api.Wire.Json;

namespace BnService.Api.Tests.Wire.Json;

/// <summary>Elements are written in any number of chunks, into blocks of any length.</summary>
public sealed class JsonElementsTests
{
    private static readonly float[] Floats =
        [0, -0f, 1, float.NaN, float.PositiveInfinity, -1.1754944e-38f, float.NegativeInfinity, float.MaxValue, float.MinValue, float.Epsilon, 0.1f, -1e-5f];

    private static readonly double[] Doubles =
        [0, -0.0, 1, double.NaN, double.PositiveInfinity, double.NegativeInfinity, double.MaxValue, double.MinValue, double.Epsilon, 0.1, 1 / 3.0, -2.2250738585072014e-308];

    [Fact]
    public void They_are_read_again_as_they_were()
    {
        Assert.Equal(Floats, ReadAgain<float>(Written<float>(Floats, 1000, 512)));
        Assert.Equal(Doubles, ReadAgain<double>(Written<double>(Doubles, 1000, 512)));
        Assert.Equal("0,-0,1,\"NaN\",\"Infinity\",-1.1754944E-38,\"-Infinity\"", Written<float>(Floats.AsSpan()[..7], 1000, 512));
    }

    [Theory]
    [InlineData(1, 512)]
    [InlineData(7, 513)]
    [InlineData(64, 1 << 16)]
    [InlineData(1000, 600)]
    public void Chunks_and_blocks_do_not_show(int chunk, int block)
    {
        var random = new Random(block);
        var floats = Enumerable.Range(0, 5000).Select(i => i % 100 == 0 ? Floats[i / 100 % Floats.Length] : NumberTexts.Single(random)).ToArray();
        Assert.Equal(Written<float>(floats, 5000, 1 << 20), Written<float>(floats, chunk, block));
        var doubles = floats.Select(value => value / 3.0).ToArray();
        Assert.Equal(Written<double>(doubles, 5000, 1 << 20), Written<double>(doubles, chunk, block));
        Assert.Equal(doubles, ReadAgain<double>(Written<double>(doubles, chunk, block)));
    }

    [Fact]
    public void No_elements_are_no_text() => Assert.Equal("", Written<float>([], 1, 512));

    private static string Written<T>(ReadOnlySpan<T> elements, int chunk, int block)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var output = new Blocks(block);
        for (var from = 0; from < elements.Length; from += chunk)
            JsonElements.Write(output, elements[from..Math.Min(from + chunk, elements.Length)], isFirst: from == 0);
        return output.Text;
    }

    private static T[] ReadAgain<T>(string text)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        [.. JsonDocument.Parse($"[{text}]").RootElement.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number
            ? typeof(T) == typeof(float) ? T.CreateChecked(item.GetSingle()) : T.CreateChecked(item.GetDouble())
            : item.GetString() switch { "NaN" => T.NaN, "Infinity" => T.PositiveInfinity, _ => T.NegativeInfinity })];

    /// <summary>Blocks of one length each, behind which nothing may be written.</summary>
    private sealed class Blocks(int length) : IBufferWriter<byte>
    {
        private readonly byte[] _block = new byte[length + 16];
        private readonly StringBuilder _text = new();

        public string Text => _text.ToString();

        public void Advance(int count)
        {
            _text.Append(Encoding.ASCII.GetString(_block, 0, count));
            Assert.True(_block.AsSpan(length).IndexOfAnyExcept((byte)0xFF) < 0, "written behind the block");
        }

        public Memory<byte> GetMemory(int sizeHint = 0) => throw new NotSupportedException();

        public Span<byte> GetSpan(int sizeHint = 0)
        {
            Assert.True(sizeHint <= length);
            _block.AsSpan().Fill(0xFF);
            return _block.AsSpan(0, length);
        }
    }
}
