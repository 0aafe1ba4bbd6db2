using System.Buffers;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace BnService.Api.Storage;

/// <summary>
/// A statement written as it reads, <c>$"SELECT … WHERE id = {id}"</c>: what stands in braces is sent with the text as a parameter, never
/// within it. Only a <see cref="SqlText"/> or another statement becomes part of the text.
/// </summary>
[InterpolatedStringHandler]
internal sealed class SqlStatement(int literalLength, int formattedCount)
{
    // Texts as they stand, and the values of the parameters between them, which get their numbers at the end.
    private readonly List<object> _parts = new((2 * formattedCount) + 1);
    private readonly int _length = literalLength + (4 * formattedCount);

    /// <summary>Whether a database can hold all texts among the parameters: what it cannot hold, it does not have.</summary>
    public bool IsPossible { get; private set; } = true;

    public void AppendLiteral(string text) => _parts.Add(text);

    public void AppendFormatted(SqlText text) => _parts.Add(text.Text);

    public void AppendFormatted(SqlStatement? part)
    {
        if (part is null) return;
        IsPossible &= part.IsPossible;
        _parts.AddRange(part._parts);
    }

    public void AppendFormatted(string? text)
    {
        IsPossible &= text is null || CanHold(text);
        _parts.Add(new Parameter(text));
    }

    public void AppendFormatted(string[] texts) => _parts.Add(new Parameter(texts));

    public void AppendFormatted(long number) => _parts.Add(new Parameter(number));

    public void AppendFormatted(ReadOnlyMemory<byte> bytes) => _parts.Add(new Parameter(bytes));

    /// <summary>The text, in which parameters are <c>$1</c>, <c>$2</c> and so on.</summary>
    /// <param name="add">
    /// Takes each parameter: a <see cref="string"/> or null, an array of them, a <see cref="long"/>, or a <see cref="ReadOnlyMemory{T}"/> of bytes.
    /// </param>
    public string Write(Action<object?> add)
    {
        var (text, number) = (new StringBuilder(_length), 0);
        foreach (var part in _parts)
        {
            if (part is Parameter parameter)
            {
                add(parameter.Value);
                text.Append(CultureInfo.InvariantCulture, $"${++number}");
            }
            else text.Append((string)part);
        }
        return text.ToString();
    }

    // PostgreSQL's text is UTF-8 without the character zero, and half of a pair is no character at all.
    private static bool CanHold(string text)
    {
        for (var rest = text.AsSpan(); rest.Length > 0;)
        {
            if (rest[0] == '\0' || Rune.DecodeFromUtf16(rest, out _, out var read) != OperationStatus.Done) return false;
            rest = rest[read..];
        }
        return true;
    }

    private sealed record Parameter(object? Value);
}

/// <summary>A part of a statement's text, of this service's own making.</summary>
internal readonly record struct SqlText(string Text);
