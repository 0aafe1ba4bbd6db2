using System.Buffers.Text;
using System.Globalization;
using System.Numerics;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.OpenInference;

/// <summary>
/// The elements of a JSON array, flat or nested, in pooled memory. Besides JSON's numbers it takes <c>NaN</c>, <c>Infinity</c> and
/// <c>-Infinity</c>, bare as Python's json writes them, or as strings; and true and false, which are 1 and 0, for BOOL.
/// </summary>
internal sealed class InferData : IDisposable
{
    private NativeBuffer? _elements;
    private int _count;
    private int _firstTruth = -1;
    private int[] _dimensions = [];

    private readonly Precision _precision;

    private InferData(Precision precision) => _precision = precision;

    public static InferData Read(ReadOnlySpan<byte> json, ref int position, Precision precision)
    {
        var elements = new InferData(precision);
        try
        {
            if (precision == Precision.Float64) new Scan<double>(json, position, elements).Run(out position);
            else new Scan<float>(json, position, elements).Run(out position);
            return elements;
        }
        catch
        {
            elements.Dispose();
            throw;
        }
    }

    public Tensor ToTensor(string input, Shape shape, ElementType datatype)
    {
        Require(datatype, input);
        var isFit = _count == shape.Count
            && (_dimensions.Length == 1 || shape.Count == 0 || _dimensions.AsSpan().SequenceEqual(shape.Dimensions.AsSpan()));
        if (!isFit)
        {
            throw InferText.Refused(_dimensions.Length > 1
                ? $"data of input '{input}' is nested as [{string.Join(", ", _dimensions)}], its shape is {shape}"
                : $"data of input '{input}' has {_count} elements, its shape {shape} needs {shape.Count}");
        }
        var tensor = new Tensor(shape, _elements ?? NativeBuffer.Rent(0), _precision);
        _elements = null;
        return tensor;
    }

    public void Dispose() => _elements?.Dispose();

    private void Require(ElementType datatype, string input)
    {
        if (_precision == Precision.Float64) Require<double>(datatype, input);
        else Require<float>(datatype, input);
    }

    private void Require<T>(ElementType datatype, string input)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (_firstTruth >= 0 && datatype != ElementType.BOOL)
        {
            var truth = T.IsZero(_elements!.Span<T>(_count)[_firstTruth]) ? "false" : "true";
            throw InferText.Refused(
                $"element {_firstTruth} of data must be a number, NaN, Infinity or -Infinity, got {truth}, which only BOOL has");
        }
        if (Datatypes.RangeOf(datatype) is not var (least, most) || _count == 0) return;
        foreach (ref readonly var element in _elements!.Span<T>(_count))
        {
            if (element >= T.CreateTruncating(least) && element <= T.CreateTruncating(most) && T.IsInteger(element)) continue;
            var allowed = datatype == ElementType.BOOL ? "true, false, 1 or 0" : $"a whole number from {least} to {most}";
            var index = _elements.Span<T>(_count).IndexOf(element);
            throw InferText.Refused($"element {index} of data of input '{input}' must be {allowed} ({datatype.Name()}), " +
                $"got {element.ToString(null, CultureInfo.InvariantCulture)}");
        }
    }

    // Room for one more element at least.
    private Span<T> Free<T>()
        where T : unmanaged
    {
        var size = _precision.Size();
        if (_elements is null || _count == _elements.Length / size)
        {
            var larger = NativeBuffer.Rent(Math.Max(64, 2L * _count) * size);
            if (_elements is not null) _elements.Span<T>(_count).CopyTo(larger.Span<T>(_count));
            _elements?.Dispose();
            _elements = larger;
        }
        return _elements.Span<T>((int)Math.Min(_elements.Length / size, int.MaxValue))[_count..];
    }

    private ref struct Scan<T>(ReadOnlySpan<byte> json, int position, InferData elements)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        private readonly ReadOnlySpan<byte> _json = json;
        private int _position = position;
        private int _rank;

        // The first array of each depth decides its dimension; all others must agree.
        public void Run(out int end)
        {
            Span<int> dimensions = stackalloc int[Shape.MaxRank], counts = stackalloc int[Shape.MaxRank];
            dimensions.Fill(-1);
            var depth = -1;
            do
            {
                if (Next() == '[')
                {
                    if (depth + 1 == Shape.MaxRank)
                        throw InferText.Refused($"data is nested deeper than {Shape.MaxRank}, the most dimensions of a tensor");
                    if (depth + 1 == _rank && elements._count > 0) throw Ragged();
                    _rank = Math.Max(_rank, ++depth + 1);
                    counts[depth] = 0;
                    _position++;
                    if (Next() != ']') continue;
                }
                else
                {
                    if (depth + 1 != _rank) throw Ragged();
                    counts[depth] += Elements();
                }
                while (depth >= 0 && Next() == ']')
                {
                    if (dimensions[depth] < 0) dimensions[depth] = counts[depth];
                    if (dimensions[depth] != counts[depth]) throw Ragged();
                    _position++;
                    if (--depth >= 0) counts[depth]++;
                }
                if (depth >= 0 && Next() != ',') throw Unexpected("',' or ']'");
                if (depth >= 0) _position++;
            }
            while (depth >= 0);
            elements._dimensions = dimensions[.._rank].ToArray();
            end = _position;
        }

        // The byte at the position, once white space has been passed over.
        private byte Next()
        {
            while (_position < _json.Length && _json[_position] is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n') _position++;
            return _position < _json.Length ? _json[_position] : throw InferText.Refused("the JSON ends within data");
        }

        // As many plain numbers as follow each other, or one element that is none.
        private int Elements()
        {
            var free = elements.Free<T>();
            var count = JsonNumbers.Read(_json, ref _position, free);
            if (count == 0)
            {
                free[0] = Element();
                count = 1;
            }
            elements._count += count;
            return count;
        }

        private T Element()
        {
            var text = _json[_position..];
            if (text.StartsWith("true"u8) || text.StartsWith("false"u8)) return Truth(text[0] == 't');
            if (text[0] is (byte)'N' or (byte)'I' or (byte)'"' || text is [(byte)'-', (byte)'I', ..]) return NonFinite(text);
            var length = JsonToken.NumberLength(text);
            if (length == 0 || !Utf8Parser.TryParse(text[..length], out double element, out _))
                throw Unexpected("a number, NaN, Infinity or -Infinity");
            if (!double.IsFinite(element))
            {
                throw new ProblemException(ProblemCode.NonFiniteInput,
                    $"{InferText.Input} element {elements._count} is {JsonToken.Cut(text[..length])}, {Float32Range.BeyondFloat64}");
            }
            // Once, from the text: through a double it would be rounded twice.
            if (typeof(T) == typeof(float))
            {
                if (!Utf8Parser.TryParse(text[..length], out float single, out _) || !float.IsFinite(single))
                    throw Float32Range.Beyond(InferText.Input, elements._count, JsonToken.Cut(text[..length]));
                element = single;
            }
            _position += length;
            return T.CreateTruncating(element);
        }

        private T Truth(bool isTrue)
        {
            if (elements._firstTruth < 0) elements._firstTruth = elements._count;
            _position += isTrue ? 4 : 5;
            return isTrue ? T.One : T.Zero;
        }

        private T NonFinite(ReadOnlySpan<byte> text)
        {
            var quote = text[0] == '"' ? 1 : 0;
            var word = text[quote..];
            var (element, length) = word.StartsWith("NaN"u8) ? (T.NaN, 3)
                : word.StartsWith("Infinity"u8) ? (T.PositiveInfinity, 8)
                : word.StartsWith("-Infinity"u8) ? (T.NegativeInfinity, 9)
                : throw Unexpected("a number, NaN, Infinity or -Infinity");
            if (quote == 1 && (word.Length == length || word[length] != '"')) throw Unexpected("a number, NaN, Infinity or -Infinity");
            _position += length + (2 * quote);
            return element;
        }

        private readonly Exception Unexpected(string expected)
        {
            return InferText.Refused($"element {elements._count} of data must be {expected}, got {JsonToken.At(_json[_position..])}");
        }

        private static Exception Ragged() => InferText.Refused("data is ragged: its arrays of one depth differ in length or depth");
    }
}
