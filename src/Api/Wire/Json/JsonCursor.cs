using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace BnService.Api.Wire.Json;

/// <summary>
/// A position in a JSON text (RFC 8259). It walks objects and arrays itself, so that their numbers can be read in place, and lends a
/// reader of the serializer for everything else, which that reader cannot do: it starts at a text's beginning only.
/// </summary>
/// <remarks>
/// What is not JSON is a <see cref="JsonException"/> without a message: who catches it has the text and can have it explained.
/// </remarks>
internal ref struct JsonCursor(ReadOnlySpan<byte> json)
{
    public const int MaxDepth = 64;

    private readonly ReadOnlySpan<byte> _json = json;
    private int _position;
    private int _depth;

    public readonly int Length => _json.Length;

    /// <summary>The next byte that is not white space, which is skipped; 0 at the end, and no JSON has that byte outside.</summary>
    public byte Peek()
    {
        for (; _position < _json.Length; _position++)
        {
            if (_json[_position] is not ((byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t')) return _json[_position];
        }
        return 0;
    }

    /// <summary>Whether nothing but white space comes.</summary>
    public bool IsAtEnd() => Peek() == 0 && _position == _json.Length;

    /// <summary>Goes past <paramref name="expected"/>, if that comes.</summary>
    public bool TryTake(char expected)
    {
        if (Peek() != expected) return false;
        _position++;
        return true;
    }

    /// <summary>Goes past <paramref name="expected"/>.</summary>
    public void Take(char expected)
    {
        if (!TryTake(expected)) throw new JsonException();
    }

    /// <summary>Goes past the bracket with which an object or array begins.</summary>
    public void Open(char bracket)
    {
        Take(bracket);
        _depth++;
    }

    /// <summary>Goes to the next item of an object or array, over its comma; or, if there is none, past the bracket that ends it.</summary>
    /// <param name="isFirst">Whether no item was read yet; false from then on.</param>
    public bool Next(char bracket, ref bool isFirst)
    {
        if (TryTake(bracket))
        {
            _depth--;
            return false;
        }
        if (!isFirst) Take(',');
        isFirst = false;
        return true;
    }

    /// <summary>Goes past a field's name and its colon.</summary>
    /// <returns>A reader that stands on the name.</returns>
    public Utf8JsonReader TakeName()
    {
        var reader = Value();
        if (reader.TokenType != JsonTokenType.String) throw new JsonException();
        Advance(reader.BytesConsumed);
        Take(':');
        return reader;
    }

    /// <summary>A reader that stands on the first token of the value that comes; the cursor stays before it.</summary>
    public Utf8JsonReader Value()
    {
        Peek();
        var options = new JsonReaderOptions { MaxDepth = MaxDepth - _depth, AllowMultipleValues = true };
        var reader = new Utf8JsonReader(_json[_position..], options);
        return reader.Read() ? reader : throw new JsonException();
    }

    /// <summary>Goes past NaN, Infinity or -Infinity without quotes, as Python's json writes them, if that comes.</summary>
    public bool TryTakeNonFinite(out double value)
    {
        value = 0;
        if (Peek() is not ((byte)'N' or (byte)'I' or (byte)'-')) return false;
        var rest = _json[_position..];
        var length = JsonToken.WordLength(rest);
        var word = rest[..length];
        if (word.SequenceEqual("NaN"u8)) value = double.NaN;
        else if (word.SequenceEqual("Infinity"u8)) value = double.PositiveInfinity;
        else if (word.SequenceEqual("-Infinity"u8)) value = double.NegativeInfinity;
        else return false;
        _position += length;
        return true;
    }

    /// <summary>What comes, cut short, for messages.</summary>
    public string Describe()
    {
        var probe = this;
        if (probe.TryTakeNonFinite(out var nonFinite)) return nonFinite.ToString(CultureInfo.InvariantCulture);
        var reader = Value();
        return JsonToken.Describe(ref reader);
    }

    /// <summary>Goes over what a reader of <see cref="Value"/> has consumed.</summary>
    public void Advance(long bytes) => _position += (int)bytes;

    /// <summary>Reads numbers as long as they are plain ones, and goes past the last.</summary>
    /// <inheritdoc cref="JsonNumbers.Read{T}"/>
    public int ReadNumbers<T>(scoped Span<T> destination)
        where T : unmanaged, System.Numerics.IBinaryFloatingPointIeee754<T> => JsonNumbers.Read(_json, ref _position, destination);
}

/// <summary>A token as it was sent, cut short: what came is part of every message.</summary>
internal static class JsonToken
{
    /// <summary>What <see cref="At"/> says of bytes that are no text.</summary>
    public const string Binary = "bytes that are no text";

    private const int Longest = 40;

    private static ReadOnlySpan<byte> Mark => [0xEF, 0xBB, 0xBF];

    private static readonly SearchValues<byte> Delimiters = SearchValues.Create(" \t\r\n,:[]{}\""u8);

    public static string Describe(ref Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.StartObject or JsonTokenType.EndObject => "an object",
        JsonTokenType.StartArray or JsonTokenType.EndArray => "an array",
        JsonTokenType.String => $"\"{Cut(reader.ValueSpan)}\"",
        _ => Cut(reader.ValueSpan),
    };

    /// <summary>What a text begins with, up to its end and no further: a value, or what stands in its place.</summary>
    public static string At(ReadOnlySpan<byte> text)
    {
        if (text.IsEmpty) return "the end";
        if (text[0] is (byte)'{' or (byte)'[') return text[0] == '{' ? "an object" : "an array";
        if (text[0] == '"')
        {
            var end = 1;
            while (end < text.Length && text[end] != '"' && text[end] >= ' ') end += text[end] == '\\' && end + 1 < text.Length ? 2 : 1;
            return end < text.Length && text[end] == '"' ? $"\"{Cut(text[1..end])}\"" : $"\"{Cut(text[1..end])}";
        }
        var length = WordLength(text);
        if (length == 0) return $"'{(char)text[0]}'";
        var word = text[..length];
        return word.IndexOfAnyInRange((byte)0, (byte)31) < 0 && Utf8.IsValid(word) ? Cut(word) : Binary;
    }

    /// <summary>Number of bytes up to the next space, bracket, quote or separator.</summary>
    public static int WordLength(ReadOnlySpan<byte> text)
    {
        var length = text.IndexOfAny(Delimiters);
        return length < 0 ? text.Length : length;
    }

    public static string Cut(ReadOnlySpan<byte> text)
    {
        if (text.Length <= Longest) return Encoding.UTF8.GetString(text);
        var length = Longest;
        while (length > Longest - 4 && (text[length] & 0xC0) == 0x80) length--; // no character is cut in two
        return Encoding.UTF8.GetString(text[..length]) + "…";
    }

    /// <summary>The text without the byte order mark that some editors and libraries put in front of UTF-8.</summary>
    public static ReadOnlySpan<byte> WithoutMark(ReadOnlySpan<byte> text) => text.StartsWith(Mark) ? text[Mark.Length..] : text;

    /// <summary>Bytes of the number (RFC 8259, 6) that a text begins with; 0 if it begins with none.</summary>
    public static int NumberLength(ReadOnlySpan<byte> text)
    {
        var length = text is [(byte)'-', ..] ? 1 : 0;
        var digits = Digits(text[length..]);
        // No zero leads another digit.
        if (digits == 0 || (digits > 1 && text[length] == '0')) return 0;
        length += digits;
        if (length < text.Length && text[length] == '.')
        {
            digits = Digits(text[(length + 1)..]);
            if (digits == 0) return 0;
            length += 1 + digits;
        }
        if (length == text.Length || text[length] is not ((byte)'e' or (byte)'E')) return length;
        length++;
        if (length < text.Length && text[length] is (byte)'+' or (byte)'-') length++;
        digits = Digits(text[length..]);
        return digits == 0 ? 0 : length + digits;
    }

    private static int Digits(ReadOnlySpan<byte> text)
    {
        var count = text.IndexOfAnyExceptInRange((byte)'0', (byte)'9');
        return count < 0 ? text.Length : count;
    }
}
