using System.Globalization;
using System.Text;
using BnService.Bench.Cases;
using BnService.Bench.Timing;
using BnService.Core.Simd;

namespace BnService.Bench.Report;

/// <summary>The whole report: on what it was measured, the tables, the goals.</summary>
internal static class Document
{
    private const string Introduction = """
        # Benchmarks of the kernels

        Written by the program in `tests/Bench`; do not edit. Everything in a row was measured in turns, in one run and on tensors of the
        same size, and is the 25th percentile. Only ratios mean something; under a peer's name, above 1 it takes longer than ours.


        """;

    private const string Explanation = """

        *limit* is a native loop that only moves the bytes, with ordinary or non-temporal stores, whichever is faster: *copy* for inference;
        *2R+1W*, a read pass before the copy, for the training forward; *4R+1W* for backward out of cache and the harsher *a+b* in it.
        In inference *ours* has its map (three constants per channel) ready, as the limit has; against the peers it is made anew in every
        call, as theirs is. oneDNN runs in its best memory format, reordering not charged, and only where it has compiled code. PyTorch
        runs in a child process, once with an allocator that keeps freed tensors on huge pages, once as it comes. *TensorPrimitives* is the
        C# that one would write by hand, a few calls per row or plane. A dash: the peer has nothing to offer there, or was not to be had.
        *others* is the share of the cores that other processes took while the row was measured; with much of it a row is marked with *
        and, on 2 threads, not judged.


        """;

    /// <summary>Writes it.</summary>
    /// <param name="options">What was asked for.</param>
    /// <param name="arguments">As the user typed it.</param>
    /// <param name="notes">What could be had of the peers.</param>
    /// <param name="cells">The rows.</param>
    /// <param name="dispatching">What a second thread costs; null where it was not measured.</param>
    /// <param name="elapsed">How long the run took.</param>
    /// <param name="disturbance">The share of the machine that others took.</param>
    public static string Of(
        BenchOptions options, string[] arguments, IEnumerable<string> notes, IReadOnlyList<Cell> cells, Dispatching? dispatching,
        TimeSpan elapsed, double disturbance)
    {
        var tables = new Tables(options);
        var text = new StringBuilder(Introduction)
            .Append(RunFacts.Of(arguments, elapsed, disturbance,
                [$"ours: {(int)options.Widths[0]}-bit vectors (widest: {(int)VectorWidths.Widest})", .. notes]))
            .Append(Explanation).Append("## Goals\n\n").Append(Goal.Table(new Goals(cells, dispatching, options.Widths[0]).All));
        Section("Sizes that the goals are about", cells.Where(cell => BenchCase.Judged.Contains(cell.Case)), tables.Cells);
        Section("Ragged sizes", cells.Where(cell => !BenchCase.Judged.Contains(cell.Case)), tables.Cells);
        Section("Statistics in double against float, 1 thread", cells.Where(cell => cell.Time(Names.FloatStatistics) is not null),
            tables.Statistics);
        if (dispatching is not null)
            Section("A second thread for small tensors", dispatching.SmallCells, _ => tables.SecondThread(dispatching));
        Section("Wrong results, not timed", cells.Where(cell => cell.Flaws.Count > 0), RunFacts.Flaws);
        return text.ToString();

        void Section(string heading, IEnumerable<Cell> rows, Func<IEnumerable<Cell>, string> table)
        {
            if (rows.Any()) text.Append(CultureInfo.InvariantCulture, $"\n## {heading}\n\n").Append(table(rows));
        }
    }
}
