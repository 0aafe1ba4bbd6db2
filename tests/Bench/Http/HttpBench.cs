using BnService.Bench.Contenders;
using BnService.Bench.Http.Report;
using BnService.Bench.Http.Servers;
using BnService.Bench.Report;
using BnService.Bench.Timing;

namespace BnService.Bench.Http;

/// <summary>The bench of the service over HTTP.</summary>
internal static class HttpBench
{
    /// <summary>Measures and reports.</summary>
    /// <returns>The program's exit code: 1 where an answer was wrong or did not come.</returns>
    public static int Run(BenchOptions options, string[] arguments)
    {
        HttpCase[] cases = [.. HttpCase.All.Where(httpCase => httpCase.Name.Contains(options.Case, StringComparison.OrdinalIgnoreCase))];
        if (cases.Length == 0)
        {
            Console.Error.WriteLine($"no case has {options.Case} in its name");
            return 2;
        }
        try
        {
            PeerFiles.ProvideHttp();
            return Run(options, arguments, cases);
        }
        catch (InvalidOperationException exception)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
    }

    private static int Run(BenchOptions options, string[] arguments, HttpCase[] cases)
    {
        var files = ServiceFiles.Publish();
        var machine = new Machine();
        var startUp = StartUp.Measure(files, times: options.Quick ? 3 : 9);
        using var servers = new ServerSet(files);
        Console.WriteLine(string.Join("\n", servers.Notes));
        var contest = options.Quick
            ? new HttpContest(servers, rounds: 3, TimeSpan.FromMilliseconds(300))
            : new HttpContest(servers, rounds: 9, TimeSpan.FromMilliseconds(500));
        WarmUp(servers, cases);

        var (cellsOnly, serversBefore) = (new Machine(), servers.Seconds);
        var cells = new List<HttpCell>();
        for (var i = 0; i < cases.Length; i++)
        {
            cells.Add(contest.Measure(cases[i], (options.Most - machine.Elapsed) / (cases.Length - i)));
            var line = $"{machine.Elapsed.TotalSeconds,5:F0} s  {cases[i].Name,-16} {HttpTables.InShort(cells[i])}";
            Console.WriteLine(line);
        }
        var sendsAllFirst = SendsAllFirst.Try(servers.Service);

        var disturbance = cellsOnly.Disturbance(servers.Seconds - serversBefore);
        var report = HttpDocument.Of(arguments, servers.Notes, cells, startUp, sendsAllFirst, machine.Elapsed, disturbance);
        Console.WriteLine();
        Console.WriteLine(report);
        if (options.Out is { } path) File.WriteAllText(path, report);

        var flaws = RunFacts.Flaws(cells) + (sendsAllFirst.Flaw is { } flaw ? $"- {SendsAllFirst.Name}: {flaw}\n" : "");
        Console.Error.Write(flaws);
        return flaws.Length == 0 ? 0 : 1;
    }

    // Until the servers' code is compiled for good: a second of small requests, and what comes with more than one connection.
    private static void WarmUp(ServerSet servers, HttpCase[] cases)
    {
        var contest = new HttpContest(servers, rounds: 2, TimeSpan.FromMilliseconds(250));
        foreach (var isJson in cases.Select(httpCase => httpCase.IsJson).Distinct())
            _ = contest.Measure(new HttpCase(Rows: 16, Connections: 2, isJson), TimeSpan.FromMinutes(1));
    }
}
