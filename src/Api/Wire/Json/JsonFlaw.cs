using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace BnService.Api.Wire.Json;

/// <summary>
/// What keeps a text from being JSON (RFC 8259), in words for its author, and where. It walks the whole text once more, so it is
/// only for texts that a reader has refused. NaN and infinities are passed over: they are read where numbers of tensors stand.
/// </summary>
internal ref struct JsonFlaw
{
    private const int MostDepth = 128;
    private const string Wide = "UTF-16 or UTF-32; encode it as UTF-8";

    private static readonly SearchValues<byte> Space = SearchValues.Create(" \t\r\n"u8);

    private readonly ReadOnlySpan<byte> _json;
    private readonly int _maxDepth;
    private int _at;
    private string? _words; // of the flaw that ends the text
    private int _flaw;
    private string? _doubt; // of the first thing that some readers take and others do not
    private int _doubtAt;

    private JsonFlaw(ReadOnlySpan<byte> json, int maxDepth)
    {
        _json = json;
        _maxDepth = Math.Min(maxDepth, MostDepth);
    }

    /// <summary>Bytes of a whole value that is followed by something else; 0 where that is not the flaw.</summary>
    public int ValueLength { get; private set; }

    /// <summary>Whether it begins with bytes that are no text.</summary>
    public readonly bool IsBinary => !_json.IsEmpty && OtherForm() is null && JsonToken.At(_json) == JsonToken.Binary;

    /// <summary>Finds the flaw of a text.</summary>
    /// <param name="json">The text, UTF-8, without a byte order mark.</param>
    /// <param name="maxDepth">How deep it may be nested; 128 at most.</param>
    public static JsonFlaw Of(ReadOnlySpan<byte> json, int maxDepth)
    {
        var flaw = new JsonFlaw(json, maxDepth);
        flaw.Run();
        return flaw;
    }

    public readonly bool IsFound => _words is not null;

    /// <summary>The flaw as the sentence of a message.</summary>
    public readonly string Explain(string what)
    {
        if (_json.IndexOfAnyExcept(Space) < 0) return $"{what} is empty; it must be a JSON object";
        if (OtherForm() is { } form) return $"{what} is not JSON in UTF-8: it is {form}";
        var (words, at) = _words is not null ? (_words, _flaw) : (_doubt ?? "it has text that cannot be read", _doubtAt);
        var before = _json[..at];
        var lineStart = before.LastIndexOf((byte)'\n') + 1;
        var (line, column) = (before.Count((byte)'\n') + 1, Encoding.UTF8.GetCharCount(before[lineStart..]) + 1);
        return string.Create(CultureInfo.InvariantCulture, $"{what} is not well-formed JSON: {words} (line {line}, column {column})");
    }

    // Bodies of other forms under the name of JSON.
    private readonly string? OtherForm() => _json switch
    {
        [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..] => Wide,
        // Other zeros are those of numbers.
        [(byte)'{' or (byte)'[', 0, ..] or [0, (byte)'{' or (byte)'[', ..] or [0, 0, 0, (byte)'{' or (byte)'[', ..] => Wide,
        [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y', ..] => $"an npy array; send it with Content-Type: {MediaTypes.Npy}",
        [0x1F, 0x8B, ..] => "compressed; name the compression in Content-Encoding: gzip",
        _ => null,
    };

    // The kinds of brackets around the position lie on a stack: true for an object.
    private void Run()
    {
        Span<bool> stack = stackalloc bool[MostDepth];
        var depth = 0;
        while (_words is null)
        {
            var next = Peek();
            if (next is (byte)'{' or (byte)'[')
            {
                if (depth == _maxDepth)
                {
                    Fail($"it is nested deeper than {_maxDepth} levels");
                    return;
                }
                stack[depth++] = next == '{';
                _at++;
                if (Peek() == (next == '{' ? '}' : ']')) _at++;
                else if (next == '[' || Name()) continue;
                else return;
                depth--;
            }
            else if (!Scalar(next, depth > 0 && !stack[depth - 1] ? "a value or ']'" : "a value")) return;
            while (depth > 0 && Peek() == (stack[depth - 1] ? '}' : ']'))
            {
                depth--;
                _at++;
            }
            if (depth == 0)
            {
                End();
                return;
            }
            if (Peek() != ',')
            {
                Fail($"expected ',' or '{(stack[depth - 1] ? '}' : ']')}', got {Here()}");
                return;
            }
            var comma = _at++;
            if (Peek() is (byte)']' or (byte)'}')
            {
                Fail($"a comma stands before the closing '{(char)_json[_at]}'; remove it", comma);
                return;
            }
            if (stack[depth - 1] && !Name()) return;
        }
    }

    private void End()
    {
        var end = _at;
        Peek();
        if (_at == _json.Length) return;
        ValueLength = end;
        Fail($"it goes on after its end with {Here()}");
    }

    private bool Name()
    {
        if (Peek() != '"') return Fail($"expected a name in double quotes, got {Here()}");
        if (!Text()) return false;
        if (Peek() != ':') return Fail($"expected ':' after a name, got {Here()}");
        _at++;
        return true;
    }

    private bool Scalar(byte next, string expected)
    {
        if (next == '"') return Text();
        var rest = _json[_at..];
        var length = JsonToken.WordLength(rest);
        var word = rest[..length];
        if (next is (byte)'-' or (>= (byte)'0' and <= (byte)'9') && JsonToken.NumberLength(word) == length) return Skip(length);
        if (word.SequenceEqual("true"u8) || word.SequenceEqual("false"u8) || word.SequenceEqual("null"u8)) return Skip(length);
        if (word.SequenceEqual("NaN"u8) || word.SequenceEqual("Infinity"u8) || word.SequenceEqual("-Infinity"u8))
        {
            Doubt($"{Encoding.UTF8.GetString(word)} is read only where a number of a tensor or an array is expected; " +
                "send it as a string in double quotes");
            return Skip(length);
        }
        return Fail($"expected {expected}, got {Here()}{Advice(word)}");
    }

    private static string Advice(ReadOnlySpan<byte> word)
    {
        if (word.IsEmpty) return "";
        if (word.SequenceEqual("None"u8)) return "; JSON writes null";
        if (word.SequenceEqual("True"u8) || word.SequenceEqual("False"u8)) return "; JSON writes true and false";
        if (word.SequenceEqual("nan"u8)) return "; send \"NaN\"";
        if (word.SequenceEqual("inf"u8) || word.SequenceEqual("-inf"u8)) return "; send \"Infinity\" or \"-Infinity\"";
        return word[0] switch
        {
            (byte)'\'' => "; texts stand in double quotes",
            (byte)'/' or (byte)'#' => "; JSON has no comments",
            (byte)'-' or (byte)'+' or (byte)'.' or (>= (byte)'0' and <= (byte)'9') => ", which is not how JSON writes a number",
            _ => "",
        };
    }

    // Where a text stands; to the end of it.
    private bool Text()
    {
        var start = _at++;
        while (_at < _json.Length && _json[_at] != '"')
        {
            if (_json[_at] < ' ')
            {
                return Fail($"a text holds a line break or another control character (code {_json[_at]}) as it is; " +
                    "write it as an escape such as \\n");
            }
            if (_json[_at] != '\\')
            {
                _at++;
                continue;
            }
            var escape = _json[_at..];
            if (escape.Length < 2) break;
            if (escape[1] != 'u')
            {
                if (!"\"\\/bfnrt"u8.Contains(escape[1])) return Fail($"{JsonToken.Cut(escape[..2])} is no escape in JSON");
                _at += 2;
                continue;
            }
            if (Code(escape) is not { } unit)
                return escape.Length < 6 ? Ended(start) : Fail("\\u must be followed by four hexadecimal digits");
            var isPair = char.IsHighSurrogate(unit) && escape.Length >= 12 && Code(escape[6..]) is { } low && char.IsLowSurrogate(low);
            if (char.IsSurrogate(unit) && !isPair) Doubt($"{JsonToken.Cut(escape[..6])} is half of a character");
            _at += isPair ? 12 : 6;
        }
        if (_at >= _json.Length) return Ended(start);
        if (!Utf8.IsValid(_json[start.._at])) Doubt("a text is not valid UTF-8", start);
        _at++;
        return true;
    }

    private static char? Code(ReadOnlySpan<byte> escape) =>
        escape.Length >= 6 && escape[0] == '\\' && escape[1] == 'u'
        && ushort.TryParse(escape[2..6], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) ? (char)code : null;

    private byte Peek()
    {
        var spaces = _json[_at..].IndexOfAnyExcept(Space);
        _at = spaces < 0 ? _json.Length : _at + spaces;
        return _at < _json.Length ? _json[_at] : (byte)0;
    }

    private readonly string Here() => _at < _json.Length ? JsonToken.At(_json[_at..]) : "the end of the text";

    private bool Skip(int length)
    {
        _at += length;
        return true;
    }

    private bool Ended(int start) => Fail("a text has no closing quote", start);

    private bool Fail(string words) => Fail(words, _at);

    private bool Fail(string words, int at)
    {
        (_words, _flaw) = (words, at);
        return false;
    }

    private void Doubt(string words) => Doubt(words, _at);

    private void Doubt(string words, int at)
    {
        if (_doubt is null) (_doubt, _doubtAt) = (words, at);
    }
}
