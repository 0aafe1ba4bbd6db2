using System.Collections.Concurrent;
using BnService.Api.Hosting;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// Keeps the last of what passes through sessions in the store, where that can, so that it survives a restart: written about once a second and
/// at the end, never while a request waits for it. A process that is killed loses the last moment of it.
/// </summary>
internal sealed partial class TrafficHistory(
    ISessionStore store, ResidentSessions resident, IOptions<NodeOptions> node, TimeProvider time, ILogger<TrafficHistory> logger) : BackgroundService
{
    // What is written a second at the most: who trains has the disk first.
    private const int MostBytesAtOnce = 1 << 20;

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly ITrafficStore? _store = store as ITrafficStore;
    private readonly ConcurrentDictionary<string, LayerSession> _marked = new();

    /// <summary>Something has passed through a session.</summary>
    public void Mark(LayerSession session)
    {
        if (_store is null || session.Traffic.IsMarked) return;
        session.Traffic.IsMarked = true;
        // It may have left memory and come back meanwhile: what has not been stored yet goes on with the new object.
        _marked.AddOrUpdate(session.Id, session, (_, other) =>
        {
            TakeOver(session, other);
            return session;
        });
    }

    /// <summary>Brings what the store has kept of a session, once.</summary>
    /// <exception cref="StorageUnavailableException">The store cannot be read now.</exception>
    public async ValueTask RestoreAsync(LayerSession session, CancellationToken cancellationToken)
    {
        if (_store is null || session.Traffic.IsRestored) return;
        foreach (var content in await _store.FindTrafficAsync(session.Id, cancellationToken))
        {
            if (KeptTraffic.Decode(content) is { } earlier) session.Traffic.Restore(earlier);
            else LogUnread(logger, session.Current.Name);
        }
        if (_marked.TryGetValue(session.Id, out var other)) TakeOver(session, other);
        session.Traffic.IsRestored = true;
    }

    /// <summary>Brings what the store has kept of a session, where it can be read now.</summary>
    public async ValueTask TryRestoreAsync(LayerSession session, CancellationToken cancellationToken)
    {
        try
        {
            await RestoreAsync(session, cancellationToken);
        }
        catch (StorageUnavailableException) when (!store.IsShared)
        {
            // What is known here is answered: where nobody else writes, it is what there is.
        }
    }

    /// <summary>Stores what has passed since the last time, as much as may be written at once.</summary>
    public async Task SaveAsync(CancellationToken cancellationToken)
    {
        var (taken, kept, bytes) = (new List<LayerSession>(), new List<StoredTraffic>(), 0L);
        try
        {
            foreach (var (id, _) in _marked)
            {
                if (bytes >= MostBytesAtOnce) break;
                if (!_marked.TryRemove(id, out var session)) continue;
                // What passes from here on is stored the next time.
                session.Traffic.IsMarked = false;
                if (session.IsGone) continue;
                taken.Add(session);
                await RestoreAsync(session, cancellationToken);
                kept.Add(new StoredTraffic(id, node.Value.Name, session.Traffic.Keep().Encode()));
                bytes += kept[^1].Content.Length;
            }
            if (kept.Count > 0) await _store!.SaveTrafficAsync(kept, cancellationToken);
        }
        catch (Exception exception) when (exception is StorageUnavailableException or OperationCanceledException)
        {
            // A disk that cannot be written: what is still in memory is tried again.
            foreach (var session in taken.Where(session => ReferenceEquals(resident.Peek(session.Id), session))) Mark(session);
            throw;
        }
    }

    /// <inheritdoc/>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        try
        {
            while (!_marked.IsEmpty) await SaveAsync(cancellationToken);
        }
        catch (Exception exception) when (exception is StorageUnavailableException or OperationCanceledException)
        {
            LogLost(logger, exception.Message);
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (_store is null) return;
        using var timer = new PeriodicTimer(Interval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await SaveAsync(stoppingToken);
            }
            catch (StorageUnavailableException)
            {
                // The store says so itself, once.
            }
        }
    }

    private static void TakeOver(LayerSession session, LayerSession other)
    {
        if (!ReferenceEquals(session, other)) session.Traffic.Restore(other.Traffic.Keep());
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The stored history of session {Session} is damaged, or of another version, and left out")]
    private static partial void LogUnread(ILogger logger, string session);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The history of the last moment is not stored: {Reason}")]
    private static partial void LogLost(ILogger logger, string reason);
}
