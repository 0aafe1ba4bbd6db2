using System.Buffers;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Npgsql;
using NpgsqlTypes;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// A statement written as it reads, <c>$"SELECT … WHERE id = {id}"</c>: what stands in braces is sent beside the text as a parameter, never
/// within it. Only a <see cref="SqlText"/> or another statement becomes part of the text.
/// </summary>
/// <param name="literalLength">Characters outside braces.</param>
/// <param name="formattedCount">Number of pairs of braces.</param>
[InterpolatedStringHandler]
internal sealed class PostgresStatement(int literalLength, int formattedCount)
{
    // Texts as they stand, and what makes the parameters in between, which get their numbers at the end.
    private readonly List<object> _parts = new((2 * formattedCount) + 1);
    private readonly int _length = literalLength + (4 * formattedCount);

    /// <summary>Whether the database can hold all texts among the parameters: what it cannot, it has not got.</summary>
    public bool IsPossible { get; private set; } = true;

    public void AppendLiteral(string text) => _parts.Add(text);

    public void AppendFormatted(SqlText text) => _parts.Add(text.Text);

    public void AppendFormatted(PostgresStatement? part)
    {
        if (part is null) return;
        IsPossible &= part.IsPossible;
        _parts.AddRange(part._parts);
    }

    public void AppendFormatted(string text)
    {
        IsPossible &= CanHold(text);
        Add(text, NpgsqlDbType.Text);
    }

    public void AppendFormatted(string[] texts) => Add(texts, NpgsqlDbType.Array | NpgsqlDbType.Text);

    public void AppendFormatted(long number) => Add(number, NpgsqlDbType.Bigint);

    public void AppendFormatted(ReadOnlyMemory<byte> bytes) => Add(bytes, NpgsqlDbType.Bytea);

    /// <summary>The statement as a part of a batch.</summary>
    public NpgsqlBatchCommand ToCommand()
    {
        var command = new NpgsqlBatchCommand();
        var text = new StringBuilder(_length);
        foreach (var part in _parts)
        {
            if (part is Func<NpgsqlParameter> parameter)
            {
                command.Parameters.Add(parameter());
                text.Append(CultureInfo.InvariantCulture, $"${command.Parameters.Count}");
            }
            else text.Append((string)part);
        }
        command.CommandText = text.ToString();
        return command;
    }

    private void Add<T>(T value, NpgsqlDbType type) => _parts.Add(NpgsqlParameter () => new NpgsqlParameter<T> { TypedValue = value, NpgsqlDbType = type });

    // Its text is UTF-8 without the character zero, and half of a pair is no character at all.
    private static bool CanHold(string text)
    {
        for (var rest = text.AsSpan(); rest.Length > 0;)
        {
            if (rest[0] == '\0' || Rune.DecodeFromUtf16(rest, out _, out var read) != OperationStatus.Done) return false;
            rest = rest[read..];
        }
        return true;
    }
}

/// <summary>A part of a statement's text, of this service's own making.</summary>
/// <param name="Text">The text.</param>
internal readonly record struct SqlText(string Text);
