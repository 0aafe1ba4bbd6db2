using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Sessions;

// What is read from a store may be damaged: what has checksums is held against them, and what cannot be read is told by its name.
internal static partial class SessionEncoding
{
    private static readonly Dictionary<string, NormalizerKind> Kinds = Enum.GetValues<NormalizerKind>().ToDictionary(kind => kind.WireName);

    /// <summary>Decodes a session.</summary>
    /// <exception cref="DamagedStateException">It is not as it was written.</exception>
    public static SessionRecord Decode(StoredSession stored)
    {
        if (TryParse(stored.Header, IdentityOf(stored)) is not { } header) throw Damaged(Remains(stored), stored);
        if (TryLayer(header, stored.Header, stored.State, stored.Version) is not { } layer)
            throw Damaged(Summary(stored, header) with { Damage = Damage.Arrays }, stored);
        return new SessionRecord(stored.Id, stored.Name, header.Labels, stored.CreatedAt, header.UpdatedAt, layer)
        {
            Convention = header.Convention,
            Owner = stored.Owner,
            StoredSize = stored.Size,
            Mark = stored.Mark,
        };
    }

    /// <summary>Decodes a session in a list: where its header is damaged, who it is.</summary>
    public static SessionSummary Summary(StoredHeader stored) =>
        TryParse(stored.Header, IdentityOf(stored)) is { } header ? Summary(stored, header) : Remains(stored);

    /// <summary>What stands in for a damaged session until another state replaces it: a new layer of its options, of its version.</summary>
    public static SessionRecord StandIn(SessionRemains remains)
    {
        var session = remains.Session;
        var layer = LayerState.Create(session.Options) with { Version = session.Version };
        return new SessionRecord(session.Id, session.Name, session.Labels, session.CreatedAt, session.UpdatedAt, layer)
        {
            Convention = session.Convention,
            Owner = remains.Stored.Owner,
            Mark = remains.Stored.Mark,
            StoredSize = remains.Stored.Size,
            Damage = session.Damage,
        };
    }

    /// <summary>Decodes what a list says of a snapshot: of a damaged one its version.</summary>
    public static SnapshotSummary DecodeSummary(StoredSnapshot stored) =>
        TryParse(stored.Header, IdentityOf(stored)) is { Snapshot: { } snapshot } header
            ? new SnapshotSummary(stored.Version, snapshot.FrozenAt, snapshot.Description, header.BatchesTracked ?? 0)
            : new SnapshotSummary(stored.Version, default, null, 0) { IsDamaged = true };

    /// <summary>Decodes the state that was frozen, and what was said of the session.</summary>
    /// <param name="stored">The snapshot.</param>
    /// <param name="session">Name of the session.</param>
    /// <exception cref="DamagedStateException">It is not as it was written.</exception>
    public static (StateHeader Header, LayerState Layer) DecodeLayer(StoredSnapshot stored, string session) =>
        TryParse(stored.Header, IdentityOf(stored)) is { } header
            && TryLayer(header, stored.Header, stored.State, stored.Version) is { } layer
            ? (header, layer)
            : throw DamagedSnapshot(session, stored.Version);

    /// <summary>What is answered where a snapshot is damaged.</summary>
    public static DamagedStateException DamagedSnapshot(string session, long version) => new(
        $"the snapshot of version {version} of session '{session}' is damaged in the storage: its checksum does not match, or it cannot be "
        + $"read. Delete it with DELETE /v1/sessions/{session}/snapshots/{version}; the session and its other snapshots are not affected");

    private static long IdentityOf(StoredHeader stored) =>
        Checksum.Identity(stored.Id, stored.Name, stored.Version, stored.CreatedAt.UtcTicks);

    private static long IdentityOf(StoredSnapshot stored) => Checksum.Identity(stored.SessionId, "", stored.Version, 0);

    private static SessionSummary Summary(StoredHeader stored, StateHeader header) => new(
        stored.Id, stored.Name, header.Labels, stored.CreatedAt, header.UpdatedAt, header.Options, header.Convention, stored.Version,
        header.BatchesTracked ?? 0)
    {
        Health = header.Condition,
    };

    private static SessionSummary Remains(StoredHeader stored) => new(
        stored.Id, stored.Name, new Dictionary<string, string>(), stored.CreatedAt, stored.CreatedAt,
        new NormalizerOptions { NumFeatures = 1, Kind = Kinds.GetValueOrDefault(stored.Kind) }, null, stored.Version, 0)
    {
        Damage = Damage.Header,
    };

    private static DamagedStateException Damaged(SessionSummary session, StoredSession stored) => new(
        $"the stored {(session.Damage == Damage.Header ? "header" : "state")} of session '{session.Name}' is damaged: its checksum does not "
        + $"match, or it cannot be read. Restore a snapshot with POST /v1/sessions/{session.Name}/snapshots/{{version}}/restore, replace it "
        + $"with PUT /v1/sessions/{session.Name}/state, or delete it; no other session is affected")
    {
        Remains = new SessionRemains(session, stored),
    };

    // Null where it is damaged. What has no checksum is looked at as far as anything depends on it.
    private static StateHeader? TryParse(ReadOnlyMemory<byte> bytes, long identity)
    {
        try
        {
            if (Checksum.IsSealed(bytes.Span)) return Checksum.IsIntact(bytes.Span, identity) ? Parse(bytes) : null;
            return Parse(bytes) is { Options: not null, Labels: not null, Features: > 0 } header ? header : null;
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            return null;
        }
    }

    private static LayerState? TryLayer(StateHeader header, ReadOnlyMemory<byte> bytes, ReadOnlyMemory<byte> state, long version)
    {
        try
        {
            var isSealed = Checksum.IsSealed(bytes.Span);
            if (isSealed && !Checksum.IsStateIntact(bytes.Span, state.Span)) return null;
            var layer = Layer(header, state, version);
            return isSealed || ArraysOf(layer).All(entry => IsSized(entry, layer.Features)) ? layer : null;
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            return null;
        }
    }

    // An optimizer that has no second moments keeps none.
    private static bool IsSized((string Name, double[]? Array) entry, int features) => entry.Array is null || entry.Array.Length == features
        || (entry.Array.Length == 0 && entry.Name.StartsWith("optimizer.", StringComparison.Ordinal));
}
