using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using BnService.Api.Errors;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Npy;

// \x93NUMPY | major | minor | length of the text (u16 for 1.0, u32 for 2.0 and 3.0, little-endian) | text: a Python dictionary | elements

/// <summary>The header of an array as numpy.save writes it (NEP 1; numpy.lib.format, versions 1.0 to 3.0).</summary>
/// <param name="IsColumnMajor">Whether the first dimension is the innermost one (fortran_order).</param>
/// <param name="IsBigEndian">Whether the first byte of an element is the most significant one.</param>
/// <param name="Dimensions">Its dimensions, outermost first.</param>
internal sealed record NpyHeader(ElementType Type, bool IsColumnMajor, bool IsBigEndian, IReadOnlyList<long> Dimensions)
{
    /// <summary>Bytes before the length of the text.</summary>
    public const int PrefixLength = 8;

    public const int MaxTextLength = 64 << 10;

    private const int Alignment = 64;

    private const string Orders = "<>=|";

    // Without the byte order, which stands in front.
    private static readonly (string Descr, ElementType Type)[] Types =
    [
        ("f4", ElementType.F32), ("f8", ElementType.F64), ("f2", ElementType.F16), ("i1", ElementType.I8), ("i2", ElementType.I16),
        ("i4", ElementType.I32), ("i8", ElementType.I64), ("u1", ElementType.U8), ("u2", ElementType.U16), ("u4", ElementType.U32),
        ("u8", ElementType.U64), ("b1", ElementType.BOOL),
    ];

    /// <summary>Bytes of the length that follows the prefix.</summary>
    public static int LengthSize(ReadOnlySpan<byte> prefix)
    {
        if (prefix[0] != 0x93 || !prefix[1..6].SequenceEqual("NUMPY"u8)) throw Malformed("the body must begin with \\x93NUMPY");
        return (prefix[6], prefix[7]) switch
        {
            (1, 0) => sizeof(ushort),
            (2 or 3, 0) => sizeof(uint),
            _ => throw Malformed($"the version must be 1.0, 2.0 or 3.0, got {prefix[6]}.{prefix[7]}"),
        };
    }

    /// <summary>Number of bytes of the text.</summary>
    public static int TextLength(ReadOnlySpan<byte> length)
    {
        var announced = length.Length == sizeof(ushort) ? BinaryPrimitives.ReadUInt16LittleEndian(length)
            : BinaryPrimitives.ReadUInt32LittleEndian(length);
        if (announced > MaxTextLength) throw Malformed($"the header must be at most {MaxTextLength} bytes long, got {announced}");
        return (int)announced;
    }

    /// <summary>Reads the text.</summary>
    /// <exception cref="ProblemException">It is not the dictionary that numpy writes, or the elements are of another type.</exception>
    public static NpyHeader Parse(ReadOnlySpan<byte> text)
    {
        var literal = new DictionaryLiteral(Encoding.Latin1.GetString(text));
        string? descr = null;
        bool? isColumnMajor = null;
        List<long>? shape = null;
        literal.Expect('{');
        while (!literal.Takes('}'))
        {
            var key = literal.Text();
            literal.Expect(':');
            var isNew = key switch
            {
                "descr" => descr is null,
                "fortran_order" => isColumnMajor is null,
                "shape" => shape is null,
                _ => throw Malformed($"the header has the keys descr, fortran_order and shape, got '{Excerpt.Of(key)}'"),
            };
            if (!isNew) throw Malformed($"the header names '{key}' twice");
            if (key == "descr") descr = literal.Descr();
            else if (key == "shape") shape = literal.Numbers();
            else isColumnMajor = literal.Truth();
            if (literal.Takes(',')) continue;
            literal.Expect('}');
            break;
        }
        literal.ExpectEnd();
        if (descr is null || isColumnMajor is null || shape is null)
            throw Malformed($"the header lacks '{(descr is null ? "descr" : isColumnMajor is null ? "fortran_order" : "shape")}'");
        var order = descr.Length > 0 && Orders.Contains(descr[0], StringComparison.Ordinal) ? 1 : 0;
        foreach (var (name, type) in Types)
        {
            if (descr.AsSpan(order).SequenceEqual(name)) return new(type, isColumnMajor.Value, descr[0] == '>', shape);
        }
        throw Malformed($"{Allowed}, got '{Excerpt.Of(descr)}'");
    }

    /// <summary>The header of an array in row-major order, version 1.0.</summary>
    public static byte[] Write(Shape shape, Precision precision = Precision.Float32)
    {
        var dimensions = string.Join(", ", shape.Dimensions) + (shape.Rank == 1 ? "," : "");
        var text = $"{{'descr': '{(precision == Precision.Float64 ? "<f8" : "<f4")}', 'fortran_order': False, 'shape': ({dimensions}), }}";
        var length = (PrefixLength + sizeof(ushort) + text.Length + 1 + Alignment - 1) / Alignment * Alignment;
        var header = new byte[length];
        header[0] = 0x93;
        "NUMPY"u8.CopyTo(header.AsSpan(1));
        header[6] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(PrefixLength), (ushort)(length - PrefixLength - sizeof(ushort)));
        header.AsSpan(PrefixLength + sizeof(ushort)).Fill((byte)' ');
        Encoding.ASCII.GetBytes(text, header.AsSpan(PrefixLength + sizeof(ushort)));
        header[^1] = (byte)'\n';
        return header;
    }

    private static string Allowed =>
        $"descr must be one of {string.Join(", ", Types.Select(type => $"'{type.Descr}'"))}, with '<', '>', '=', '|' or nothing in front";

    private static ProblemException Malformed(string detail) => new(ProblemCode.MalformedBody, $"npy: {detail}");

    // The part of Python's literals that numpy writes: one dictionary of texts, truths and tuples of whole numbers.
    private sealed class DictionaryLiteral(string text)
    {
        private int _at;

        public bool Takes(char symbol)
        {
            Skip();
            if (_at == text.Length || text[_at] != symbol) return false;
            _at++;
            return true;
        }

        public void Expect(char symbol)
        {
            if (!Takes(symbol)) throw Malformed($"expected '{symbol}' at byte {_at} of the header, got {Rest()}");
        }

        public void ExpectEnd()
        {
            Skip();
            if (_at < text.Length) throw Malformed($"the header goes on after its dictionary with {Rest()}");
        }

        // An array of records has a list of them.
        public string Descr()
        {
            Skip();
            if (_at < text.Length && text[_at] is '[' or '(' or '{')
                throw Malformed($"{Allowed}, got a structured type, {Rest()}: send one of its fields as an array of numbers");
            return Text();
        }

        // Python 2 marks texts of its unicode type with a u.
        public string Text()
        {
            Skip();
            if (_at + 1 < text.Length && text[_at] == 'u' && text[_at + 1] is '\'' or '"') _at++;
            var quote = _at < text.Length ? text[_at] : ' ';
            var end = quote is '\'' or '"' ? text.IndexOf(quote, _at + 1) : -1;
            if (end < 0) throw Malformed($"expected a text at byte {_at} of the header, got {Rest()}");
            var value = text[(_at + 1)..end];
            _at = end + 1;
            return value;
        }

        public bool Truth()
        {
            Skip();
            foreach (var (word, value) in new[] { ("True", true), ("False", false) })
            {
                if (string.CompareOrdinal(text, _at, word, 0, word.Length) != 0) continue;
                _at += word.Length;
                return value;
            }
            throw Malformed($"fortran_order must be True or False, got {Rest()}");
        }

        public List<long> Numbers()
        {
            var numbers = new List<long>();
            Expect('(');
            while (!Takes(')'))
            {
                Skip();
                var end = _at;
                while (end < text.Length && char.IsAsciiDigit(text[end])) end++;
                if (!long.TryParse(text.AsSpan(_at, end - _at), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                    throw Malformed($"shape must be a tuple of whole numbers of 0 or more, got {Rest()}");
                numbers.Add(number);
                // Python 2 writes 2L for 2, where 2 is a long.
                _at = end < text.Length && text[end] == 'L' ? end + 1 : end;
                if (Takes(',')) continue;
                // A tuple of one number has a comma after it: in parentheses alone it is just a number.
                if (numbers.Count == 1) throw Malformed($"shape must be a tuple, got ({numbers[0]})");
                Expect(')');
                break;
            }
            return numbers;
        }

        private void Skip()
        {
            while (_at < text.Length && text[_at] is (' ' or '\n' or '\t')) _at++;
        }

        private string Rest() => _at == text.Length ? "its end" : $"'{Excerpt.Of(text[_at..])}'";
    }
}
