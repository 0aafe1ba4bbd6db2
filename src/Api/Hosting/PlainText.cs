using System.Buffers;
using System.Globalization;
using System.Text;

namespace BnService.Api.Hosting;

/// <summary>
/// Text in which a terminal, and whoever reads it line by line, finds nothing to act on: control characters, ends of lines, and marks that
/// turn the direction of what is behind them are written as escapes (<c>\u001b</c>).
/// </summary>
internal static class PlainText
{
    private static readonly char[] Acting = [.. Enumerable.Range(0, char.MaxValue).Select(code => (char)code).Where(IsActing)];
    private static readonly SearchValues<char> OfText = SearchValues.Create(Acting);
    private static readonly SearchValues<char> OfLines = SearchValues.Create(Array.FindAll(Acting, character => character != '\n'));

    /// <summary>A text as one line; the same text where it is plain.</summary>
    public static string Of(string text)
    {
        if (!text.AsSpan().ContainsAny(OfText)) return text;
        var plain = new StringWriter(new StringBuilder(text.Length + 16), CultureInfo.InvariantCulture);
        Write(text, plain);
        return plain.ToString();
    }

    /// <summary>Whether lines hold nothing that must be escaped but their ends.</summary>
    public static bool AreLines(ReadOnlySpan<char> text) => !text.ContainsAny(OfLines);

    /// <summary>Writes a text as a part of one line.</summary>
    public static void Write(ReadOnlySpan<char> text, TextWriter output) => Write(text, output, OfText);

    /// <summary>Writes lines, with their ends.</summary>
    public static void WriteLines(ReadOnlySpan<char> text, TextWriter output) => Write(text, output, OfLines);

    private static void Write(ReadOnlySpan<char> text, TextWriter output, SearchValues<char> acting)
    {
        while (text.IndexOfAny(acting) is var next and >= 0)
        {
            output.Write(text[..next]);
            output.Write("\\u");
            output.Write(((int)text[next]).ToString("x4", CultureInfo.InvariantCulture));
            text = text[(next + 1)..];
        }
        output.Write(text);
    }

    private static bool IsActing(char character) => char.GetUnicodeCategory(character)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;
}
