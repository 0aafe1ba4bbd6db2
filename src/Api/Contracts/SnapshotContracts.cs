using System.Text.Json.Serialization;
using BnService.Api.Sessions;
using BnService.Core.Layers;

namespace BnService.Api.Contracts;

/// <summary>A snapshot to take.</summary>
public sealed class CreateSnapshotRequest
{
    /// <summary>What is to be said of it, in at most 256 characters.</summary>
    public string? Description { get; set; }
}

/// <summary>A state of a session that has been frozen.</summary>
public class SnapshotResource
{
    /// <summary>The version that the session had, under which the snapshot is asked for.</summary>
    public required long Version { get; init; }

    /// <summary>When it was frozen.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>What the caller said of it; null where that was nothing.</summary>
    public required string? Description { get; init; }

    /// <summary>Number of batches that had moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }
}

/// <summary>A snapshot with its state.</summary>
public sealed class SnapshotDetails : SnapshotResource
{
    /// <summary>The state, as GET state answers it.</summary>
    public required StateResponse State { get; init; }
}

/// <summary>The snapshots of a session.</summary>
public sealed class SnapshotList
{
    /// <summary>The snapshots, newest first.</summary>
    public required IReadOnlyList<SnapshotResource> Snapshots { get; init; }

    /// <summary>Versions of snapshots that are damaged in the storage, which can only be deleted; absent where there are none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<long>? Damaged { get; init; }
}

/// <summary>Snapshots as the contract has them.</summary>
internal static class SnapshotMapping
{
    /// <summary>A snapshot without its state.</summary>
    public static SnapshotResource ToResource(this SnapshotSummary snapshot) => new()
    {
        Version = snapshot.Version,
        CreatedAt = snapshot.FrozenAt,
        Description = snapshot.Description,
        NumBatchesTracked = snapshot.BatchesTracked,
    };

    /// <summary>The snapshots of a session.</summary>
    public static SnapshotList ToResource(this IReadOnlyList<SnapshotSummary> snapshots) => new()
    {
        Snapshots = [.. snapshots.Where(snapshot => !snapshot.IsDamaged).Select(ToResource)],
        Damaged = snapshots.Any(snapshot => snapshot.IsDamaged)
            ? [.. snapshots.Where(snapshot => snapshot.IsDamaged).Select(snapshot => snapshot.Version)] : null,
    };

    /// <summary>A snapshot with its state.</summary>
    public static SnapshotDetails ToDetails(this SnapshotSummary snapshot, LayerState layer) => new()
    {
        Version = snapshot.Version,
        CreatedAt = snapshot.FrozenAt,
        Description = snapshot.Description,
        NumBatchesTracked = snapshot.BatchesTracked,
        State = layer.ToState(),
    };
}
