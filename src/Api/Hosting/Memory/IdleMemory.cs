using BnService.Api.Hosting.Limits;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Memory;

/// <summary>
/// Gives memory that nobody uses back to the operating system: what is kept for the next request is worth keeping between requests, and a
/// neighbour's to have after them. What the collector keeps for small objects it gives back earlier where hardly anything is left for large
/// ones.
/// </summary>
internal sealed class IdleMemory(IOptions<MemoryOptions> options, Places requests, IMemoryPoolFactory<byte> blocks, TimeProvider time)
    : BackgroundService
{
    // What a quiet process has anyway; to look for less would cost more than it gives.
    private const long WorthTrimming = 16 << 20;

    // Of what the collector may take: what it has, and what of that is in use.
    private const double NearlyAll = 0.85, Half = 0.5;

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(500);

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(TrimAsync(stoppingToken), LoosenAsync(stoppingToken));

    // An array that needs memory of its own finds none, although most of it is free: the collector says so instead of giving that back.
    private async Task LoosenAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(BetweenLooks, time);
        for (var seen = -1L; await timer.WaitForNextTickAsync(stoppingToken);)
        {
            var last = GC.GetGCMemoryInfo(GCKind.Any);
            var most = last.TotalAvailableMemoryBytes;
            if (last.Index == seen || last.TotalCommittedBytes < NearlyAll * most || last.HeapSizeBytes > Half * most) continue;
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            seen = GC.GetGCMemoryInfo(GCKind.Any).Index;
        }
    }

    private async Task TrimAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.Value.TrimAfter / 2, time);
        var (seen, trimmed, quiet, allocated) = (0L, 0L, 0, 0L);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            // A refused body may be on its way for long, and nothing is rented for it.
            var now = requests.Begun;
            quiet = now == seen && requests.IsIdle ? quiet + 1 : 0;
            seen = now;
            if (quiet < 2 || trimmed == now) continue;
            trimmed = now;
            if (NativeBuffer.IdleBytes > WorthTrimming || Environment.WorkingSet > 8 * WorthTrimming) NativeBuffer.Trim();
            // The blocks that bodies were received into are the collector's; without new ones there is nothing to collect.
            if (GC.GetTotalAllocatedBytes() - allocated < 4 * WorthTrimming
                || GC.GetGCMemoryInfo().TotalCommittedBytes < 4 * WorthTrimming) continue;
            allocated = GC.GetTotalAllocatedBytes();
            (blocks as PinnedBlockPoolFactory)?.Trim();
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        }
    }
}

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

    /// <summary>
    /// Sets it, before anything else has taken memory; on a larger machine, or where an operator has set one, nothing is done.
    /// </summary>
    public static void Set()
    {
        var available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (available >= SmallMachine || IsSet("DOTNET_") || IsSet("COMPlus_") || AppContext.GetData(Variable) is not null) return;
        var whole = OperatingSystem.IsLinux() && available < PartOfContainer * PhysicalBytes() * 1.01 ? available / PartOfContainer
            : available;
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
        Environment.GetEnvironmentVariable(prefix + Variable) is not null
            || Environment.GetEnvironmentVariable($"{prefix}{Variable}Percent") is not null;

    private static long PhysicalBytes()
    {
        // MemTotal:       16384256 kB
        var line = File.ReadLines("/proc/meminfo").FirstOrDefault() ?? "";
        return line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [_, var kibibytes, ..] && long.TryParse(kibibytes, out var count)
            ? count << 10 : long.MaxValue;
    }
}
