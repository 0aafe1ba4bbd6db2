using System.Globalization;
using System.Text.Json;

namespace BnService.Api.Wire.Json;

/// <summary>
/// A position in a JSON text (RFC 8259). It walks objects and arrays itself, so that their numbers can be read in place, and lends a
/// reader of the serializer for everything else, which that reader cannot do: it starts at a text's beginning only.
/// </summary>
/// <param name="json">The whole text, UTF-8.</param>
/// <remarks>
/// What is not JSON is a <see cref="JsonException"/> without a message: who catches it has the text and can have it explained.
/// </remarks>
internal ref struct JsonCursor(ReadOnlySpan<byte> json)
{
    /// <summary>How deep a text may be nested.</summary>
    public const int MaxDepth = 64;

    private readonly ReadOnlySpan<byte> _json = json;
    private int _position;
    private int _depth;

    /// <summary>Bytes of the whole text.</summary>
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

    /// <summary>Goes behind <paramref name="expected"/>, if that comes.</summary>
    public bool TryTake(char expected)
    {
        if (Peek() != expected) return false;
        _position++;
        return true;
    }

    /// <summary>Goes behind <paramref name="expected"/>.</summary>
    /// <exception cref="JsonException">Something else comes.</exception>
    public void Take(char expected)
    {
        if (!TryTake(expected)) throw new JsonException();
    }

    /// <summary>Goes behind the bracket with which an object or array begins.</summary>
    /// <exception cref="JsonException">Something else comes.</exception>
    public void Open(char bracket)
    {
        Take(bracket);
        _depth++;
    }

    /// <summary>
    /// Goes to the next item of an object or array, over its comma; or, where there is none, behind the bracket that ends it.
    /// </summary>
    /// <param name="bracket">The closing bracket.</param>
    /// <param name="isFirst">Whether no item was read yet; false from then on.</param>
    /// <exception cref="JsonException">Neither comma nor bracket comes.</exception>
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

    /// <summary>Goes behind a field's name and its colon.</summary>
    /// <returns>A reader that stands on the name.</returns>
    /// <exception cref="JsonException">No name comes, or no colon behind it.</exception>
    public Utf8JsonReader TakeName()
    {
        var reader = Value();
        if (reader.TokenType != JsonTokenType.String) throw new JsonException();
        Advance(reader.BytesConsumed);
        Take(':');
        return reader;
    }

    /// <summary>A reader that stands on the first token of the value that comes; the cursor stays before it.</summary>
    /// <exception cref="JsonException">No value comes.</exception>
    public Utf8JsonReader Value()
    {
        Peek();
        var options = new JsonReaderOptions { MaxDepth = MaxDepth - _depth, AllowMultipleValues = true };
        var reader = new Utf8JsonReader(_json[_position..], options);
        return reader.Read() ? reader : throw new JsonException();
    }

    /// <summary>Goes behind NaN, Infinity or -Infinity without quotes, as Python's json writes them, if that comes.</summary>
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
    /// <exception cref="JsonException">No value comes.</exception>
    public string Describe()
    {
        var probe = this;
        if (probe.TryTakeNonFinite(out var nonFinite)) return nonFinite.ToString(CultureInfo.InvariantCulture);
        var reader = Value();
        return JsonToken.Describe(ref reader);
    }

    /// <summary>Goes over what a reader of <see cref="Value"/> has consumed.</summary>
    public void Advance(long bytes) => _position += (int)bytes;

    /// <summary>Reads numbers as long as they are plain ones, and goes behind the last.</summary>
    /// <inheritdoc cref="JsonNumbers.Read{T}"/>
    public int ReadNumbers<T>(scoped Span<T> destination)
        where T : unmanaged, System.Numerics.IBinaryFloatingPointIeee754<T> => JsonNumbers.Read(_json, ref _position, destination);
}
