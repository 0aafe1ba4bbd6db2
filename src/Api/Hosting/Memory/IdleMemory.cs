using BnService.Api.Hosting.Limits;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Memory;

/// <summary>
/// Gives memory that nobody uses back to the operating system: what is kept for the next request is worth keeping between requests, and a
/// neighbour's to have after them. What the collector keeps for small objects it gives back earlier where hardly anything is left for large ones.
/// </summary>
internal sealed class IdleMemory(IOptions<MemoryOptions> options, Places requests, IMemoryPoolFactory<byte> blocks, TimeProvider time) : BackgroundService
{
    // What a quiet process has anyway; to look for less would cost more than it gives.
    private const long WorthTrimming = 16 << 20;

    // Of what the collector may take: what it has, and what of that is in use.
    private const double NearlyAll = 0.85, Half = 0.5;

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(500);

    /// <inheritdoc/>
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(TrimAsync(stoppingToken), LoosenAsync(stoppingToken));

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
            if (GC.GetTotalAllocatedBytes() - allocated < 4 * WorthTrimming || GC.GetGCMemoryInfo().TotalCommittedBytes < 4 * WorthTrimming) continue;
            allocated = GC.GetTotalAllocatedBytes();
            (blocks as PinnedBlockPoolFactory)?.Trim();
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        }
    }
}
