using BnService.Bench.Cases;
using BnService.Bench.Http.Servers;
using BnService.Bench.Report;
using BnService.Bench.Timing;

namespace BnService.Bench.Store;

/// <summary>A row of the table: one case, and what its contenders took.</summary>
/// <param name="storeCase">The case.</param>
internal sealed class StoreRow(StoreCase storeCase) : Standings
{
    public StoreCase Case { get; } = storeCase;

    public override string ToString() => $"{Case.Name}{Mark}";
}

/// <summary>What keeping sessions costs: train-steps over HTTP, with every engine and durability, and with more nodes than one.</summary>
internal static class StoreBench
{
    /// <summary>Runs it.</summary>
    /// <param name="options">What the command line asks for.</param>
    /// <param name="arguments">As the user typed them.</param>
    /// <returns>The exit code.</returns>
    public static int Run(BenchOptions options, string[] arguments)
    {
        var files = ServiceFiles.Publish();
        var machine = new Machine();
        using var nodes = new StoreNodes(files);
        using var data = new CaseData(new BenchCase(Layout.Dense, StoreCase.Rows, StoreCase.Features));
        var (rounds, turn) = options.Quick ? (5, 300) : (9, 1000);
        // Until the services' code is compiled for good.
        _ = Measure(new StoreCase(4, 4), nodes, data, 1, 2000);
        var (cellsOnly, before) = (new Machine(), nodes.Seconds);
        var rows = new List<StoreRow>();
        foreach (var storeCase in StoreCase.All.Where(storeCase => storeCase.Name.Contains(options.Case, StringComparison.OrdinalIgnoreCase)))
        {
            rows.Add(Measure(storeCase, nodes, data, rounds, turn));
            Console.WriteLine($"{machine.Elapsed.TotalSeconds,5:F0} s  {storeCase.Name}");
        }
        var report = StoreDocument.Of(arguments, nodes, rows, machine.Elapsed, cellsOnly.Disturbance(nodes.Seconds - before));
        Console.WriteLine();
        Console.WriteLine(report);
        if (options.Out is { } path) File.WriteAllText(path, report);
        var flaws = RunFacts.Flaws(rows);
        Console.Error.Write(flaws);
        return flaws.Length == 0 ? 0 : 1;
    }

    private static StoreRow Measure(StoreCase storeCase, StoreNodes nodes, CaseData data, int rounds, double turn)
    {
        var row = new StoreRow(storeCase);
        var loads = nodes.Contenders.Select(contender => new TrainLoad(contender.Name, contender.Nodes, storeCase, data)).ToList();
        try
        {
            row.Run(loads, rounds, turn);
            return row;
        }
        finally
        {
            loads.ForEach(load => load.Dispose());
        }
    }
}
