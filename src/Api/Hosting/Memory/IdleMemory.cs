using BnService.Api.Hosting.Limits;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Memory;

/// <summary>
/// Gives memory that nobody uses back to the operating system: what is kept for the next request is worth keeping between requests, and a
/// neighbour's to have after them.
/// </summary>
internal sealed class IdleMemory(IOptions<MemoryOptions> options, Places requests, IMemoryPoolFactory<byte> blocks, TimeProvider time) : BackgroundService
{
    // What a quiet process has anyway; to look for less would cost more than it gives.
    private const long WorthTrimming = 16 << 20;

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
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
