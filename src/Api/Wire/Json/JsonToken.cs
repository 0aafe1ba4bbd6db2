using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace BnService.Api.Wire.Json;

/// <summary>A token as it was sent, cut short: what came is part of every message.</summary>
internal static class JsonToken
{
    /// <summary>What <see cref="At"/> says of bytes that are no text.</summary>
    public const string Binary = "bytes that are no text";

    private const int Longest = 40;

    private static readonly SearchValues<byte> Delimiters = SearchValues.Create(" \t\r\n,:[]{}\""u8);

    /// <summary>The token that the reader stands on.</summary>
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

    /// <summary>The beginning of a text.</summary>
    public static string Cut(ReadOnlySpan<byte> text)
    {
        if (text.Length <= Longest) return Encoding.UTF8.GetString(text);
        var length = Longest;
        while (length > Longest - 4 && (text[length] & 0xC0) == 0x80) length--; // no character is cut in two
        return Encoding.UTF8.GetString(text[..length]) + "…";
    }
}
