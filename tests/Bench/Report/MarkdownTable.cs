using System.Globalization;
using System.Text;

namespace BnService.Bench.Report;

/// <summary>A table in Markdown, row by row.</summary>
internal sealed class MarkdownTable
{
    private readonly StringBuilder _text = new();

    /// <summary>Writes the head.</summary>
    public MarkdownTable(params string[] columns)
    {
        Add(columns);
        Add([.. Enumerable.Repeat("---", columns.Length)]);
    }

    /// <summary>Writes a row.</summary>
    public void Add(params string[] columns) => _text.Append("| ").AppendJoin(" | ", columns).Append(" |\n");

    /// <summary>A number as it stands in a table: a dash where there is none.</summary>
    public static string Number(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? "–";

    public override string ToString() => _text.ToString();
}
