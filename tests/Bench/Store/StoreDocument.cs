using System.Globalization;
using System.Text;
using BnService.Bench.Report;
using static BnService.Bench.Report.MarkdownTable;
using static BnService.Bench.Store.StoreNames;

namespace BnService.Bench.Store;

/// <summary>The report: on what it was measured, and the tables.</summary>
internal static class StoreDocument
{
    private const string Introduction = """
        # Benchmarks of the stores

        Written by the program in `tests/Bench`; do not edit. Everything in a row was measured in turns, in one run, by the same clients, and
        is the median of its turns. Only ratios mean something; above 1 the first is faster.


        """;

    private const string Explanation = """

        A client sends a train-step of 16 x 256 float32 (NumPy files, retaining nothing), waits for the answer and sends the next one. Clients,
        nodes and database share the cores and the disk of one machine, so that more nodes have no more hardware: what the rows of several
        nodes show is what sharing a database costs, and not what a second machine brings. Clients are spread over the nodes; where they all train
        one session, its steps meet on several nodes and overtake each other.


        """;

    /// <summary>Writes it.</summary>
    /// <param name="arguments">As the user typed them.</param>
    /// <param name="nodes">Who took part.</param>
    /// <param name="rows">The rows.</param>
    /// <param name="elapsed">How long the run took.</param>
    /// <param name="disturbance">The share of the machine that others took.</param>
    public static string Of(string[] arguments, StoreNodes nodes, IReadOnlyList<StoreRow> rows, TimeSpan elapsed, double disturbance)
    {
        var ratios = new MarkdownTable("clients, sessions", "sqlite: interval / step", "memory / sqlite step", "postgres: interval / step",
            "postgres / sqlite step", "2 nodes / 1", "3 nodes / 1");
        foreach (var row in rows)
        {
            ratios.Add(row.ToString(), Ratio(row, SqliteInterval, Sqlite), Ratio(row, Memory, Sqlite), Ratio(row, PostgresInterval, OneNode),
                Ratio(row, OneNode, Sqlite), Ratio(row, TwoNodes, OneNode), Ratio(row, ThreeNodes, OneNode));
        }
        string[] names = [.. nodes.Contenders.Select(contender => contender.Name)];
        var rates = new MarkdownTable(["clients, sessions", .. names]);
        foreach (var row in rows) rates.Add([row.ToString(), .. names.Select(name => Number(1e6 / row.Time(name), "F0"))]);
        return new StringBuilder(Introduction)
            .Append(RunFacts.Of(arguments, elapsed, disturbance, nodes.Notes))
            .Append(Explanation).Append("## Train-steps\n\n").Append(ratios)
            .Append("\n## For information: train-steps per second\n\n").Append(CultureInfo.InvariantCulture, $"{rates}")
            .ToString();
    }

    private static string Ratio(StoreRow row, string first, string second) => Number(row.Ratio(second, first), "F2");
}
