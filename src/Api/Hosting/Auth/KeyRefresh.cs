using BnService.Api.Storage;

namespace BnService.Api.Hosting.Auth;

/// <summary>
/// Looks every second for keys that another node, or the command line, has created, rotated or revoked. Beside the requests: none of them
/// waits for it, and a database that is away stops nobody whose key is known.
/// </summary>
internal sealed class KeyRefresh(KeyRing keys, TimeProvider time) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!keys.IsShared || keys.IsOff) return;
        using var timer = new PeriodicTimer(Interval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await keys.RefreshAsync(stoppingToken);
            }
            catch (StorageUnavailableException)
            {
                // The store says so itself, once.
            }
        }
    }
}
