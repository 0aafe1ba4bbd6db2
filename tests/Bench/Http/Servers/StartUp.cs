namespace BnService.Bench.Http.Servers;

/// <summary>What starting the service takes: storage in memory, no sessions.</summary>
/// <param name="ReadyMilliseconds">The median time from the start of the process to its first 200 from /health/ready.</param>
/// <param name="ResidentMegabytes">The median of the memory in use then, in units of 2²⁰ bytes.</param>
internal sealed record StartUp(double ReadyMilliseconds, double ResidentMegabytes)
{
    /// <summary>Where the service says that it is ready.</summary>
    public const string ReadyPath = "/health/ready";

    /// <summary>Starts and ends the service a few times.</summary>
    public static StartUp Measure(ServiceFiles service, int times)
    {
        var (ready, resident) = (new List<double>(), new List<double>());
        // The first start reads files that the next ones find in memory, and compiles this program's own part.
        for (var i = -1; i < times; i++)
        {
            using var process = service.Start();
            var time = process.WaitUntilReady(ReadyPath);
            if (i < 0) continue;
            ready.Add(time.TotalMilliseconds);
            resident.Add(process.ResidentBytes / (double)(1 << 20));
        }
        return new StartUp(Median(ready), Median(resident));
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return values[values.Count / 2];
    }
}
