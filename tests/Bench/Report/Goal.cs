using System.Globalization;

namespace BnService.Bench.Report;

/// <summary>A goal, and whether it is reached.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Text">What it asks for.</param>
/// <param name="Verdict">"met", "missed" or "not measured".</param>
/// <param name="Detail">The worst row, or all rows that miss it.</param>
internal sealed record Goal(string Id, string Text, string Verdict, string Detail)
{
    /// <summary>Holds rows against their bounds; those without a value are left open.</summary>
    public static Goal Judge(string id, string text, IEnumerable<GoalRow> rows)
    {
        GoalRow[] all = [.. rows], measured = [.. all.Where(row => row.Value is not null).OrderByDescending(row => row.Strain)];
        var open = measured.Length == all.Length ? "" : $"{all.Length - measured.Length} rows not measured or disturbed";
        if (measured.Length == 0) return new Goal(id, text, "not measured", open);
        GoalRow[] missed = [.. measured.Where(row => row.Strain > 1)];
        var detail = missed.Length == 0
            ? $"worst: {measured[0]}"
            : $"{missed.Length} of {measured.Length} rows: {string.Join("; ", missed)}";
        return new Goal(id, text, missed.Length == 0 ? "met" : "missed", open.Length == 0 ? detail : $"{detail}; {open}");
    }

    /// <summary>The goals as a table.</summary>
    public static string Table(IEnumerable<Goal> goals)
    {
        var table = new MarkdownTable("goal", "asks for", "is", "rows");
        foreach (var goal in goals) table.Add(goal.Id, goal.Text, goal.Verdict, goal.Detail);
        return table.ToString();
    }
}

/// <summary>One row that a goal is about.</summary>
/// <param name="Name">What was measured.</param>
/// <param name="Value">What came out; null where nothing that can be trusted did.</param>
/// <param name="Bound">What the goal asks for.</param>
/// <param name="IsCeiling">Whether the value must be at most, not at least, the bound.</param>
internal sealed record GoalRow(string Name, double? Value, double Bound, bool IsCeiling)
{
    /// <summary>How far the value is on the wrong side of its bound; above 1 it misses.</summary>
    public double Strain => IsCeiling ? Value!.Value / Bound : Bound / Value!.Value;

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Name} {Value:F2} ({(IsCeiling ? "≤" : "≥")} {Bound:F2})");
}
