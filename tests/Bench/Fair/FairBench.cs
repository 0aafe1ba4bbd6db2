using System.Globalization;
using System.Text;
using BnService.Bench.Http.Servers;
using BnService.Bench.Report;
using BnService.Bench.Timing;

namespace BnService.Bench.Fair;

/// <summary>
/// What large batches cost small ones: the time of a 4 KB inference alone, and while two clients train 100 MB batches all the time, with and
/// without a bound on the batches that are computed at once.
/// </summary>
internal static class FairBench
{
    private const string Introduction = """
        # Benchmark of fairness

        Written by the program in `tests/Bench`; do not edit. One client infers [1, 1024] float32 (NumPy files), waits for the answer and sends
        the next one; two others train [25600, 1024] batches, 100 MB each, as fast as they can, by the same cores. Times of the small
        inference against those that it takes when it is alone, in the same run, and against the median time of a large train-step, behind which it
        would wait if it had to: lower is better, and with the cores shared by three clients and the service 1 cannot be had. `bound` is
        `Compute:LargeBatches`.


        """;

    /// <summary>Runs it.</summary>
    /// <param name="options">What the command line asks for.</param>
    /// <param name="arguments">As the user typed them.</param>
    /// <returns>The exit code.</returns>
    public static int Run(BenchOptions options, string[] arguments)
    {
        var machine = new Machine();
        var files = ServiceFiles.Publish();
        var table = new MarkdownTable("trained meanwhile", "bound", "p50 / alone", "p99 / alone", "p99 / a large step");
        var (rounds, seconds) = options.Quick ? (3, 2) : (5, 4);
        using ServerProcess bounded = files.StartWith(), unbounded = files.StartWith("--Compute:LargeBatches", "1000");
        foreach (var server in (ServerProcess[])[bounded, unbounded]) server.WaitUntilReady("/health/ready");
        foreach (var (kind, layer) in ((string, string)[])[("batch_norm", "\"num_features\":1024"), ("layer_norm", "\"kind\":\"layer_norm\",\"normalized_shape\":[1024]")])
        {
            foreach (var (server, bound) in ((ServerProcess, string)[])[(bounded, "the default"), (unbounded, "none")])
            {
                var mixed = new MixedLoad(server.Port, kind, layer);
                mixed.Run(seconds, loaded: true);
                var (alone, loaded, large) = (new List<double>(), new List<double>(), new List<double>());
                for (var round = 0; round < rounds; round++)
                {
                    alone.AddRange(mixed.Run(seconds, loaded: false).Small);
                    var (small, steps) = mixed.Run(seconds, loaded: true);
                    loaded.AddRange(small);
                    large.AddRange(steps);
                }
                table.Add(kind, bound, Text(Quantile(loaded, 0.5) / Quantile(alone, 0.5), "F1"), Text(Quantile(loaded, 0.99) / Quantile(alone, 0.99), "F1"),
                    Text(Quantile(loaded, 0.99) / Quantile(large, 0.5), "F3"));
            }
            Console.WriteLine($"{machine.Elapsed.TotalSeconds,5:F0} s  {kind}");
        }
        var report = new StringBuilder(Introduction)
            .Append(RunFacts.Of(arguments, machine.Elapsed, machine.Disturbance(bounded.Seconds + unbounded.Seconds), []))
            .Append('\n').Append(CultureInfo.InvariantCulture, $"{table}").ToString();
        Console.WriteLine();
        Console.WriteLine(report);
        if (options.Out is { } path) File.WriteAllText(path, report);
        return 0;
    }

    private static string Text(double ratio, string format) => ratio.ToString(format, CultureInfo.InvariantCulture);

    private static double Quantile(List<double> times, double part)
    {
        times.Sort();
        return times[(int)(part * (times.Count - 1))];
    }
}
