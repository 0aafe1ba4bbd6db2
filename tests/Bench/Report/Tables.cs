using System.Globalization;
using BnService.Bench.Cases;
using BnService.Bench.Contenders;
using BnService.Bench.Timing;
using BnService.Core.Simd;
using static BnService.Bench.Report.MarkdownTable;

namespace BnService.Bench.Report;

/// <summary>The tables, in Markdown.</summary>
/// <param name="options">What was asked for.</param>
internal sealed class Tables(BenchOptions options)
{
    private readonly VectorWidth _width = options.Widths[0];

    /// <summary>How many times longer a peer takes than ours, which then does all that the peer's call does.</summary>
    public static double? PeerRatio(Cell cell, string peer, VectorWidth width) =>
        cell.Ratio(peer, cell.Operation == Operation.Inference ? Names.OursWhole(width) : Names.Ours(width));

    /// <summary>Our training forward pass over what it would take if its statistics took as long as float ones.</summary>
    public static double? DoubleCost(Cell cell, VectorWidth width)
    {
        var ours = cell.Time(Names.Ours(width));
        return ours / (ours - (cell.Time(Names.OurStatistics) - cell.Time(Names.FloatStatistics)));
    }

    /// <summary>Ours over the limit, as it stands in the table.</summary>
    public static string OfLimit(Cell cell, VectorWidth width) =>
        cell.Flaws.ContainsKey(Names.Ours(width)) ? "WRONG" : Number(cell.Time(Names.Ours(width)) / cell.LimitTime, "F2");

    /// <summary>A row per case, operation and number of threads.</summary>
    public string Cells(IEnumerable<Cell> cells)
    {
        var narrower = options.Widths[1..];
        var table = new MarkdownTable([
            "case", "operation", "threads", "limit", "limit µs", "ours µs", "ours/limit",
            .. narrower.Select(width => $"{(int)width}-bit/limit"),
            "oneDNN/ours", "PyTorch/ours, memory reused", "PyTorch/ours, default", "TensorPrimitives/ours", "others"]);
        foreach (var cell in cells)
        {
            table.Add([
                cell.Case.Name, cell.Operation.ToString().ToLowerInvariant(), Number(cell.Threads, "F0"),
                NativeLimits.Describe(cell.Operation, cell.Case.IsOutOfCache), Number(cell.LimitTime, "F1"),
                cell.Flaws.ContainsKey(Names.Ours(_width)) ? "WRONG" : Number(cell.Time(Names.Ours(_width)), "F1"),
                OfLimit(cell, _width), .. narrower.Select(width => OfLimit(cell, width)),
                Peer(cell, Names.OneDnn), Peer(cell, Names.Torch), Peer(cell, Names.TorchDefault), Peer(cell, Names.Composed),
                Number(cell.Disturbance, "P0")]);
        }
        return table.ToString();
    }

    /// <summary>Statistics in double against float ones, on one thread.</summary>
    public string Statistics(IEnumerable<Cell> cells)
    {
        var table = new MarkdownTable("case", "double µs", "float µs", "double/float", "whole training forward, double/float");
        foreach (var cell in cells.Where(cell => cell.Time(Names.FloatStatistics) is not null))
        {
            table.Add([
                cell.Case.Name, Number(cell.Time(Names.OurStatistics), "F1"), Number(cell.Time(Names.FloatStatistics), "F1"),
                Number(cell.Ratio(Names.OurStatistics, Names.FloatStatistics), "F2"), Number(DoubleCost(cell, _width), "F2")]);
        }
        return table.ToString();
    }

    /// <summary>What a second thread brings where there is little to do.</summary>
    public string SecondThread(Dispatching dispatching)
    {
        var table = new MarkdownTable("case", "KB", "operation", "1 thread µs", "2 threads µs", "2 threads/1");
        foreach (var cell in dispatching.SmallCells)
        {
            table.Add([
                cell.Case.Name, Number(cell.Case.Bytes / 1024.0, "F0"), cell.Operation.ToString().ToLowerInvariant(),
                Number(cell.Time(Names.OursOnOneThread), "F2"), Number(cell.Time(Names.Ours(_width)), "F2"),
                Number(cell.Ratio(Names.Ours(_width), Names.OursOnOneThread), "F2")]);
        }
        return string.Create(CultureInfo.InvariantCulture, $"""
            Handing two threads nothing takes {dispatching.Empty:F2} µs (the first may do it all),
            until both work and have met {dispatching.Meeting:F2} µs.

            {table}
            """);
    }

    private string Peer(Cell cell, string peer) => cell.Flaws.ContainsKey(peer) ? "WRONG" : Number(PeerRatio(cell, peer, _width), "F2");
}
