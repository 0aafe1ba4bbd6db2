using System.Globalization;

namespace BnService.Experiments.Output;

/// <summary>Tables and numbers in Markdown.</summary>
public static class Tables
{
    /// <summary>A table.</summary>
    public static string Markdown(IReadOnlyList<string> header, IEnumerable<IReadOnlyList<string>> rows) =>
        string.Join('\n', [Row(header), Row([.. header.Select(_ => "---")]), .. rows.Select(Row)]);

    /// <summary>A number with two digits behind the point; "never" for what does not come to pass.</summary>
    public static string Number(double value) => double.IsInfinity(value) ? "never" : value.ToString("0.00", CultureInfo.InvariantCulture);

    /// <summary>A number with three digits behind the point.</summary>
    public static string Precise(double value) => value.ToString("0.000", CultureInfo.InvariantCulture);

    /// <summary>A number as it is.</summary>
    public static string Plain(double value) => value.ToString(CultureInfo.InvariantCulture);

    /// <summary>A small number by its power of ten.</summary>
    public static string Scientific(double value) => value.ToString("0.0e+0", CultureInfo.InvariantCulture);

    /// <summary>A whole number; "never" for what does not come to pass.</summary>
    public static string Whole(double value) => double.IsInfinity(value) ? "never" : value.ToString("#,0", CultureInfo.InvariantCulture);

    private static string Row(IReadOnlyList<string> cells) => $"| {string.Join(" | ", cells)} |";
}
