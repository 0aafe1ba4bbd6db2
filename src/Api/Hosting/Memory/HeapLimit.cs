namespace BnService.Api.Hosting.Memory;

/// <summary>
/// The most that the collector's heap takes on a small machine. Left to itself it takes three quarters of a container's memory before it
/// collects in earnest; beside it are the runtime's own memory and the budget of requests, and in 256 MiB there is no room for all three.
/// </summary>
internal static class HeapLimit
{
    private const long SmallMachine = 1L << 30;

    // Code, threads, the store's own memory and the server's.
    private const long Beside = 80L << 20;

    private const long LeastHeap = 48L << 20;

    // Of a container the collector takes so much.
    private const double PartOfContainer = 0.75;

    // The budget is half of the heap.
    private const double HeapAndBudget = 1.5;

    private const string Variable = "GCHeapHardLimit";

    /// <summary>Sets it, before anything else has taken memory; on a larger machine, or where an operator has set one, nothing is done.</summary>
    public static void Set()
    {
        var available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (available >= SmallMachine || IsSet("DOTNET_") || IsSet("COMPlus_") || AppContext.GetData(Variable) is not null) return;
        var whole = OperatingSystem.IsLinux() && available < PartOfContainer * PhysicalBytes() * 1.01 ? available / PartOfContainer : available;
        AppContext.SetData(Variable, (ulong)Math.Max(LeastHeap, (whole - Beside) / HeapAndBudget));
        try
        {
            GC.RefreshMemoryLimit();
        }
        catch (InvalidOperationException)
        {
            // More is committed already: then there is more.
        }
    }

    private static bool IsSet(string prefix) =>
        Environment.GetEnvironmentVariable(prefix + Variable) is not null || Environment.GetEnvironmentVariable($"{prefix}{Variable}Percent") is not null;

    private static long PhysicalBytes()
    {
        // MemTotal:       16384256 kB
        var line = File.ReadLines("/proc/meminfo").FirstOrDefault() ?? "";
        return line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [_, var kibibytes, ..] && long.TryParse(kibibytes, out var count) ? count << 10 : long.MaxValue;
    }
}
