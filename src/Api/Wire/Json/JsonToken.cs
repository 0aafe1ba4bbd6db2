using System.Text;
using System.Text.Json;

namespace BnService.Api.Wire.Json;

/// <summary>A token as it was sent, cut short: what came is part of every message.</summary>
internal static class JsonToken
{
    private const int Longest = 40;

    /// <summary>The token that the reader stands on.</summary>
    public static string Describe(ref Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.StartObject or JsonTokenType.EndObject => "an object",
        JsonTokenType.StartArray or JsonTokenType.EndArray => "an array",
        JsonTokenType.String => $"\"{Cut(reader.ValueSpan)}\"",
        _ => Cut(reader.ValueSpan),
    };

    /// <summary>The beginning of a text.</summary>
    public static string Cut(ReadOnlySpan<byte> text) =>
        text.Length <= Longest ? Encoding.UTF8.GetString(text) : Encoding.UTF8.GetString(text[..Longest]) + "…";
}
