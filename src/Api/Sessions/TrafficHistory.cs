using System.Collections.Concurrent;
using System.IO.Compression;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// Keeps the last of what passes through sessions in the store, where that can, so that it survives a restart: written about once a second
/// and at the end, never while a request waits for it. A process that is killed loses the last moment of it.
/// </summary>
internal sealed partial class TrafficHistory(
    ISessionStore store, ResidentSessions resident, IOptions<NodeOptions> node, TimeProvider time, ILogger<TrafficHistory> logger)
    : BackgroundService
{
    // What is written a second at the most: who trains has the disk first.
    private const int MostBytesAtOnce = 1 << 20;

    // Of sessions that have left memory: what has not been stored of more than these is given up.
    private const int MostThatLeft = 256;

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly ITrafficStore? _store = store as ITrafficStore;

    // Without the sessions, whose states would stay in memory as long as their history waits.
    private readonly ConcurrentDictionary<string, SessionTraffic> _marked = new();

    /// <summary>Something has passed through a session.</summary>
    public void Mark(LayerSession session)
    {
        if (_store is null || session.Traffic.IsMarked) return;
        session.Traffic.IsMarked = true;
        // It may have left memory and come back meanwhile: what has not been stored yet goes on with the new object.
        _marked.AddOrUpdate(session.Id, session.Traffic, (_, other) =>
        {
            TakeOver(session.Traffic, other);
            return session.Traffic;
        });
    }

    /// <summary>Brings what the store has kept of a session, once.</summary>
    /// <exception cref="StorageUnavailableException">The store cannot be read now.</exception>
    public ValueTask RestoreAsync(LayerSession session, CancellationToken cancellationToken) =>
        RestoreAsync(session.Id, session.Traffic, cancellationToken);

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
        var (taken, kept, bytes) = (new Dictionary<string, SessionTraffic>(), new List<StoredTraffic>(), 0L);
        try
        {
            foreach (var (id, _) in _marked)
            {
                if (bytes >= MostBytesAtOnce) break;
                if (!_marked.TryRemove(id, out var traffic)) continue;
                // What passes from here on is stored the next time.
                traffic.IsMarked = false;
                if (traffic.IsGone) continue;
                taken[id] = traffic;
                await RestoreAsync(id, traffic, cancellationToken);
                kept.Add(new StoredTraffic(id, node.Value.Name, traffic.Keep().Encode()));
                bytes += kept[^1].Content.Length;
            }
            if (kept.Count > 0) await _store!.SaveTrafficAsync(kept, cancellationToken);
        }
        catch (Exception exception) when (exception is StorageUnavailableException or OperationCanceledException)
        {
            // A disk that cannot be written: what is still in memory is tried again.
            foreach (var (id, traffic) in taken)
            {
                if (resident.Peek(id) is { } session && ReferenceEquals(session.Traffic, traffic)) Mark(session);
            }
            throw;
        }
    }

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

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        resident.Left += Leave;
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

    private async ValueTask RestoreAsync(string id, SessionTraffic traffic, CancellationToken cancellationToken)
    {
        if (_store is null || traffic.IsRestored) return;
        foreach (var content in await _store.FindTrafficAsync(id, cancellationToken))
        {
            if (KeptTraffic.Decode(content) is { } earlier) traffic.Restore(earlier);
            else LogUnread(logger, id);
        }
        if (_marked.TryGetValue(id, out var other)) TakeOver(traffic, other);
        traffic.IsRestored = true;
    }

    private void Leave(LayerSession session)
    {
        session.Traffic.Shed();
        if (session.Traffic.IsMarked && _marked.Count > MostThatLeft) _marked.TryRemove(new(session.Id, session.Traffic));
    }

    private static void TakeOver(SessionTraffic traffic, SessionTraffic other)
    {
        if (!ReferenceEquals(traffic, other)) traffic.Restore(other.Keep());
    }

    [LoggerMessage(
        Level = LogLevel.Warning, Message = "The stored history of session {Session} is damaged, or of another version, and left out")]
    private static partial void LogUnread(ILogger logger, string session);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The history of the last moment is not stored: {Reason}")]
    private static partial void LogLost(ILogger logger, string reason);
}

/// <summary>The last of what has passed through a session, as a store keeps it: without what steps were in their channels.</summary>
internal sealed record KeptTraffic(
    IReadOnlyList<StepLine> Steps, IReadOnlyList<InferenceLine> Inferences, ObservedBatch? Inference, ObservedBatch? Frozen)
{
    public const int MostSteps = 128;

    public const int MostInferences = 64;

    /// <summary>The most channels of a batch that is kept: those of more are as large as all the rest.</summary>
    public const int MostChannels = 4096;

    public byte[] Encode()
    {
        using var bytes = new MemoryStream();
        using (var compressed = new BrotliStream(bytes, CompressionLevel.Fastest, leaveOpen: true))
        {
            var small = this with { Inference = Small(Inference), Frozen = Small(Frozen) };
            JsonSerializer.Serialize(compressed, small, KeptTrafficJson.Default.KeptTraffic);
        }
        bytes.SetLength(bytes.Length + Checksum.Bytes);
        return Checksum.Append(bytes.ToArray());
    }

    /// <summary>Reads it; null where it is damaged, or of a form that this service does not know.</summary>
    public static KeptTraffic? Decode(ReadOnlyMemory<byte> content)
    {
        try
        {
            using var compressed = new BrotliStream(new MemoryStream(Checksum.Content(content).ToArray()), CompressionMode.Decompress);
            var kept = JsonSerializer.Deserialize(compressed, KeptTrafficJson.Default.KeptTraffic);
            return kept is { Steps: not null, Inferences: not null } ? kept : null;
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            return null;
        }
    }

    /// <summary>A batch, where it is kept.</summary>
    public static ObservedBatch? Small(ObservedBatch? batch) => batch?.Statistics.Mean.Length <= MostChannels ? batch : null;
}

/// <summary>How it is written.</summary>
[JsonSourceGenerationOptions(NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, IgnoreReadOnlyProperties = true)]
[JsonSerializable(typeof(KeptTraffic))]
internal sealed partial class KeptTrafficJson : JsonSerializerContext;
