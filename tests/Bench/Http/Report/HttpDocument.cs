using System.Globalization;
using System.Text;
using BnService.Bench.Http.Servers;
using BnService.Bench.Report;

namespace BnService.Bench.Http.Report;

/// <summary>The whole report: on what it was measured, the tables, the goals.</summary>
internal static class HttpDocument
{
    private const string Introduction = """
        # Benchmarks over HTTP

        Written by the program in `tests/Bench`; do not edit. Everything in a row was measured in turns, in one run, by the same clients
        with the same payload in the same memory, and is the median of its turns. Only ratios mean something; above 1 the first is faster.


        """;

    private const string Explanation = """

        A row is a size of x ([rows, 1024] float32) and a number of connections; each connection asks, waits for the answer and asks
        again, and sends and receives at the same time. Clients and server share the cores of one machine over its loopback interface. The
        service runs as it ships, with storage in memory, and writes its log to nowhere. *inference* and *train-step* (without retaining
        anything for backward) exchange NumPy files, *OIP* is the Open Inference Protocol with binary tensors. *echo* sends the body back
        as it arrives: on Kestrel in our configuration, which is our limit; on Kestrel as it comes; and from a loop in C around the
        system's calls. FastAPI runs PyTorch's batch_norm on the same bodies, in one process, since several would not share the running
        statistics. For JSON the peers are a minimal API endpoint that binds to a record, and FastAPI with json.loads; simdjson only reads
        the body, without HTTP. One row of x has no statistics, so 4 KB has no train-step. A dash: not to be had. FAILS: a wrong answer or
        none, listed below and not timed. *others* is the share of the cores that other processes took while the row was measured; with
        much of it a row is marked with * and not judged.


        """;

    /// <summary>Writes it.</summary>
    /// <param name="arguments">As the user typed them.</param>
    /// <param name="notes">What could be had of the peers.</param>
    /// <param name="cells">The rows.</param>
    /// <param name="startUp">What starting takes.</param>
    /// <param name="sendsAllFirst">What became of a client that does not read while it sends.</param>
    /// <param name="elapsed">How long the run took.</param>
    /// <param name="disturbance">The share of the machine that others took.</param>
    public static string Of(
        string[] arguments, IEnumerable<string> notes, IReadOnlyList<HttpCell> cells, StartUp startUp, SendsAllFirst sendsAllFirst,
        TimeSpan elapsed, double disturbance)
    {
        var text = new StringBuilder(Introduction)
            .Append(RunFacts.Of(arguments, elapsed, disturbance, notes))
            .Append(Explanation).Append("## Goals\n\n").Append(Goal.Table(new HttpGoals(cells, startUp, sendsAllFirst).All));
        HttpCell[] binary = [.. cells.Where(cell => !cell.Case.IsJson)], smallest = [.. binary.Where(cell => cell.Case.Rows == 1)];
        Section("Binary bodies", binary, HttpTables.Binary);
        Section("JSON", [.. cells.Where(cell => cell.Case.IsJson)], HttpTables.Json);
        Section("For information: MB/s of x, one way", binary, HttpTables.Throughput);
        Section("For information: latency of 4 KB", smallest, HttpTables.Latencies);
        Section("Wrong answers, not timed", [.. cells.Where(cell => cell.Flaws.Count > 0)], RunFacts.Flaws);
        return text.ToString();

        void Section(string heading, HttpCell[] rows, Func<IEnumerable<HttpCell>, string> table)
        {
            if (rows.Length > 0) text.Append(CultureInfo.InvariantCulture, $"\n## {heading}\n\n").Append(table(rows));
        }
    }
}
