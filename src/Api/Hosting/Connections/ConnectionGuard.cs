using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Hosting.Connections;

/// <summary>
/// Closes connections that send no request in time, and some of those that are open while all together hold too much memory.
/// </summary>
internal sealed class ConnectionGuard : BackgroundService
{
    private const int MostWaits = 10;

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(1), UntilGivenBack = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan BetweenRelieves = TimeSpan.FromMilliseconds(200);

    private readonly ConnectionPlaces _places;
    private readonly PinnedBlocks? _blocks;
    private readonly long _most;
    private readonly TimeProvider _time;
    private int _isRelieving;

    public ConnectionGuard(ConnectionPlaces places, IMemoryPoolFactory<byte> pools, MemoryBudget budget, TimeProvider time)
    {
        (_places, _blocks, _most, _time) = (places, (pools as PinnedBlockPoolFactory)?.Blocks, budget.Limit / 2, time);
        if (_blocks is not null) _blocks.Overdrawn = Relieve;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(BetweenLooks, _time);
        while (await timer.WaitForNextTickAsync(stoppingToken)) _places.CloseSilent();
    }

    private void Relieve()
    {
        if (_isRelieving == 0 && Interlocked.Exchange(ref _isRelieving, 1) == 0) ThreadPool.UnsafeQueueUserWorkItem(
            static guard => _ = guard.RelieveAsync(), this, preferLocal: false);
    }

    // Guests are closed for what they hold; callers who are known only before the memory that all share is at its end.
    private async Task RelieveAsync()
    {
        try
        {
            while (_blocks!.RentedBytes is var rented && rented > _blocks.Share
                && _places.CloseSome(guestsOnly: rented < _most, ofManyRequests: rented - _places.Held <= _blocks.Share))
            {
                // What was closed still holds its memory for a moment: to look again before that would close others for the same bytes.
                for (var waits = 0; waits == 0 || (waits < MostWaits && _places.Closing > 0 && _blocks.RentedBytes < _most); waits++)
                    await Task.Delay(UntilGivenBack);
            }
            await Task.Delay(BetweenRelieves);
        }
        finally
        {
            Volatile.Write(ref _isRelieving, 0);
        }
    }
}
