using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace BnService.Bench.Timing;

/// <summary>On what was measured, and how much of it others took meanwhile; starts to watch when it is made.</summary>
internal sealed class Machine
{
    /// <summary>From this share on that others take, measurements are not to be trusted, above all those of two threads.</summary>
    public const double TooMuch = 0.1;

    // The unit of /proc/stat on every Linux.
    private const double TicksPerSecond = 100;

    // cpu user nice system idle iowait irq softirq steal …
    private static readonly int[] BusyFields = [1, 2, 3, 6, 7, 8];

    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly double _busyBefore = BusySeconds(), _ownBefore = OwnSeconds();

    /// <summary>The processor's name.</summary>
    public static string Processor { get; } =
        LinesOf("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim()
        ?? RuntimeInformation.ProcessArchitecture.ToString();

    /// <summary>Time since it was made.</summary>
    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_start);

    /// <summary>The share of all cores that other processes, or other guests of the same host, took since then; 0 where unknown.</summary>
    /// <param name="helpers">Seconds of processor time that this program's child processes took.</param>
    public double Disturbance(double helpers)
    {
        var others = BusySeconds() - _busyBefore - (OwnSeconds() - _ownBefore) - helpers;
        return Math.Max(0, others / (Elapsed.TotalSeconds * Environment.ProcessorCount));
    }

    private static IEnumerable<string> LinesOf(string path) => File.Exists(path) ? File.ReadLines(path) : [];

    private static double OwnSeconds()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }

    private static double BusySeconds()
    {
        if (LinesOf("/proc/stat").FirstOrDefault()?.Split(' ', StringSplitOptions.RemoveEmptyEntries) is not { } fields) return 0;
        return BusyFields.Sum(field => double.Parse(fields[field], CultureInfo.InvariantCulture)) / TicksPerSecond;
    }
}
