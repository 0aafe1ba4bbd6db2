using System.Globalization;
using BnService.Bench;
using BnService.Bench.Cases;
using BnService.Bench.Contenders;
using BnService.Bench.Fair;
using BnService.Bench.Http;
using BnService.Bench.Http.Servers;
using BnService.Bench.Report;
using BnService.Bench.Store;
using BnService.Bench.Timing;

// What the HTTP bench starts in processes of their own.
if (args is [EchoServer.Verb, var kind, var port, var layerFile])
{
    await EchoServer.RunAsync(Enum.Parse<EchoKind>(kind), int.Parse(port, CultureInfo.InvariantCulture), layerFile);
    return 0;
}

BenchOptions options;
try
{
    options = BenchOptions.Parse(args);
}
catch (FormatException exception)
{
    Console.Error.WriteLine($"{exception.Message}\n\n{BenchOptions.Usage}");
    return 2;
}

if (options.Http) return HttpBench.Run(options, args);
if (options.Store) return StoreBench.Run(options, args);
if (options.Fair) return FairBench.Run(options, args);

BenchCase[] cases = [.. (options.Quick ? BenchCase.Judged : [.. BenchCase.Judged, .. BenchCase.Ragged])
    .Where(benchCase => benchCase.Name.Contains(options.Case, StringComparison.OrdinalIgnoreCase))];
if (cases.Length == 0)
{
    Console.Error.WriteLine($"no case has {options.Case} in its name");
    return 2;
}

PeerFiles.Provide();
var machine = new Machine();
using var contest = new Contest(options);
contest.WarmUp();
Console.WriteLine(string.Join("\n", contest.Notes));

var cells = new List<Cell>();
for (var i = 0; i < cases.Length; i++)
{
    var measured = contest.Measure(cases[i], (options.Most - machine.Elapsed) / (cases.Length - i));
    cells.AddRange(measured);
    var ratios = measured.Select(cell => $"{cell.Operation} {cell.Threads}T {Tables.OfLimit(cell, options.Widths[0])}");
    var line = $"{machine.Elapsed.TotalSeconds,5:F0} s  {cases[i].Name,-22} ours/limit: {string.Join(", ", ratios)}";
    Console.WriteLine(line);
}

var dispatching = options.Threads.Contains(2) ? Dispatching.Measure(options) : null;
var report = Document.Of(options, args, contest.Notes, cells, dispatching, machine.Elapsed, machine.Disturbance(contest.TorchSeconds));
Console.WriteLine();
Console.WriteLine(report);
if (options.Out is { } path) File.WriteAllText(path, report);

var flaws = RunFacts.Flaws(cells);
Console.Error.Write(flaws);
return flaws.Length == 0 ? 0 : 1;
