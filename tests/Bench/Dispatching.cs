using System.Diagnostics;
using BnService.Bench.Cases;
using BnService.Bench.Contenders;
using BnService.Bench.Timing;

namespace BnService.Bench;

/// <summary>What a second thread costs: handing it nothing, and handing it less and less.</summary>
/// <param name="Empty">The median microseconds of handing two threads nothing, hot; the first may do all of it.</param>
/// <param name="Meeting">The median microseconds until both work and have met, hot.</param>
/// <param name="Disturbance">The share of the cores that others took meanwhile.</param>
/// <param name="SmallCells">Cells of small sizes, each with ours on two threads and on one.</param>
internal sealed record Dispatching(double Empty, double Meeting, double Disturbance, IReadOnlyList<Cell> SmallCells)
{
    /// <summary>Measures both.</summary>
    public static Dispatching Measure(BenchOptions options)
    {
        var cells = new List<Cell>();
        foreach (var rows in (int[])[16, 64, 128, 256, 512])
        {
            foreach (var benchCase in (BenchCase[])[new(Layout.Dense, rows, 128), new(Layout.ChannelsFirst, rows / 16, 32, 8, 8)])
                cells.AddRange(Enum.GetValues<Operation>().Select(operation => Small(options, benchCase, operation)));
        }
        var machine = new Machine();
        var (empty, meeting) = (Median(Ours.DispatchNothing), Median(Ours.DispatchMeeting));
        return new Dispatching(empty, meeting, machine.Disturbance(helpers: 0), cells);
    }

    private static double Median(Action dispatch)
    {
        const int calls = 20_000;
        var samples = new double[calls];
        for (var i = 0; i < 1000; i++) dispatch();
        for (var i = 0; i < calls; i++)
        {
            var start = Stopwatch.GetTimestamp();
            dispatch();
            samples[i] = Clock.MicrosecondsSince(start);
        }
        Array.Sort(samples);
        return samples[calls / 2];
    }

    private static Cell Small(BenchOptions options, BenchCase benchCase, Operation operation)
    {
        var width = options.Widths[0];
        using var data = new CaseData(benchCase);
        using Ours single = new(data, width, 1), both = new(data, width, 2);
        var cell = new Cell(benchCase, operation, 2);
        var machine = new Machine();
        cell.Run(
            [new Call(Names.OursOnOneThread, 1, single.Of(operation)), new Call(Names.Ours(width), 1, both.Of(operation))],
            options.Rounds, options.TurnMilliseconds / 2);
        cell.Disturbance = machine.Disturbance(helpers: 0);
        return cell;
    }
}
