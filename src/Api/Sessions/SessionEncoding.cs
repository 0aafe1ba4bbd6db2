using System.Text.Json;
using BnService.Api.Storage;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>
/// A session as the bytes that a store keeps: its arrays as a safetensors file with PyTorch's names, as GET state answers, all float64,
/// long ones that hold one value throughout as that value (an earlier service refuses them), and everything else as JSON.
/// </summary>
internal static class SessionEncoding
{
    public static StoredSession Encode(SessionRecord session)
    {
        var layer = session.Layer;
        var (header, state) = (Header(session, null), Arrays(layer));
        Checksum.Seal(header, state, Checksum.Identity(session.Id, session.Name, layer.Version, session.CreatedAt.UtcTicks));
        return new StoredSession(session.Id, session.Name, layer.Options.Kind.WireName, layer.Version, session.CreatedAt, header, state)
        {
            Owner = session.Owner,
            Mark = session.Mark,
        };
    }

    public static StoredSnapshot EncodeSnapshot(SessionRecord session, DateTimeOffset frozenAt, string? description)
    {
        var (header, state) = (Header(session, new(frozenAt, description)), Arrays(session.Layer));
        Checksum.Seal(header, state, Checksum.Identity(session.Id, "", session.Layer.Version, 0));
        return new(session.Id, session.Layer.Version, header, state);
    }

    private static StateHeader Parse(ReadOnlyMemory<byte> header) =>
        JsonSerializer.Deserialize(header.Span, StateJson.Default.StateHeader)!;

    private static byte[] Header(SessionRecord session, SnapshotHeader? snapshot)
    {
        var layer = session.Layer;
        return JsonSerializer.SerializeToUtf8Bytes(
            new StateHeader(
                layer.Options, layer.Features, layer.FeaturesAreFixed, session.Labels, session.UpdatedAt, layer.Running?.BatchesTracked,
                layer.Running?.IsInitial, layer.LastBatch?.Count, layer.Optimizer?.Optimizer, layer.Optimizer?.Step)
            {
                StatisticsAreGiven = layer.Running?.AreGiven == true,
                StatisticsWeight = layer.Running?.Weight,
                LastSamples = layer.LastBatch?.Samples,
                GammaStep = layer.Optimizer?.Gamma?.Step,
                BetaStep = layer.Optimizer?.Beta?.Step,
                SeenCount = layer.Seen?.Count,
                SeenBatches = layer.SeenBatches,
                PopulationCount = layer.Population?.Moments.Count,
                PopulationBatches = layer.Population?.Batches ?? 0,
                Convention = session.Convention,
                Snapshot = snapshot,
                // A list says it of a hundred thousand sessions, whose arrays nobody could read for that.
                Condition = snapshot is null ? LayerHealth.Of(Diagnosis.Of(layer, null, null)) : null,
                Sums = Checksum.Unsealed,
            },
            StateJson.Default.StateHeader);
    }

    private static byte[] Arrays(LayerState layer)
    {
        var file = new SafetensorsFile();
        foreach (var (name, array) in ArraysOf(layer))
        {
            if (array is not null) file.AddShort(name, array);
        }
        return file.ToArray();
    }

    private static LayerState Layer(StateHeader header, ReadOnlyMemory<byte> state, long version)
    {
        var arrays = new SafetensorsArrays(state);
        return new LayerState
        {
            Options = header.Options,
            Version = version,
            Features = header.Features,
            FeaturesAreFixed = header.FeaturesAreFixed,
            Gamma = arrays.Find("weight"),
            Beta = arrays.Find("bias"),
            Running = arrays.Find("running_mean") is { } mean
                ? new RunningStatistics(mean, arrays["running_var"], header.BatchesTracked ?? 0, header.StatisticsAreInitial == true)
                {
                    AreGiven = header.StatisticsAreGiven,
                    Weight = header.StatisticsWeight,
                }
                : null,
            LastBatch = header.LastCount is { } count
                ? new LastBatch(arrays["last_batch.mean"], arrays["last_batch.var"], count) { Samples = header.LastSamples }
                : null,
            Optimizer = header.Optimizer is { } optimizer
                ? new OptimizerBuffers(
                    optimizer, header.OptimizerStep ?? 0, Buffers(arrays, "optimizer.gamma", header.GammaStep),
                    Buffers(arrays, "optimizer.beta", header.BetaStep))
                : null,
            Seen = header.SeenCount is { } seen ? Moments(arrays, "seen", seen) : null,
            SeenBatches = header.SeenBatches,
            Population = header.PopulationCount is { } gathered
                ? new PopulationEstimate(Moments(arrays, "population", gathered), header.PopulationBatches)
                : null,
        };
    }

    // By the names that PUT state gives them.
    private static (string Name, double[]? Array)[] ArraysOf(LayerState layer) =>
    [
        ("weight", layer.Gamma), ("bias", layer.Beta), ("running_mean", layer.Running?.Mean), ("running_var", layer.Running?.Variance),
        ("last_batch.mean", layer.LastBatch?.Mean), ("last_batch.var", layer.LastBatch?.Variance),
        ("optimizer.gamma.first", layer.Optimizer?.Gamma?.First), ("optimizer.gamma.second", layer.Optimizer?.Gamma?.Second),
        ("optimizer.beta.first", layer.Optimizer?.Beta?.First), ("optimizer.beta.second", layer.Optimizer?.Beta?.Second),
        ("seen.mean", layer.Seen?.Mean), ("seen.mean_residual", layer.Seen?.MeanResidual), ("seen.m2", layer.Seen?.M2),
        ("population.mean", layer.Population?.Moments.Mean), ("population.mean_residual", layer.Population?.Moments.MeanResidual),
        ("population.m2", layer.Population?.Moments.M2),
    ];

    private static Moments Moments(SafetensorsArrays arrays, string name, long count) =>
        new(count, arrays[$"{name}.mean"], arrays[$"{name}.mean_residual"], arrays[$"{name}.m2"]);

    private static OptimizerMoments? Buffers(SafetensorsArrays arrays, string name, long? step) =>
        arrays.Find($"{name}.first") is { } first ? new(first, arrays[$"{name}.second"]) { Step = step } : null;

    // What is read from a store may be damaged: checksums are checked where there are any, and what cannot be read is told by its name.
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
        $"the stored {(session.Damage == Damage.Header ? "header" : "state")} of session '{session.Name}' is damaged: its checksum does "
        + $"not match, or it cannot be read. Restore a snapshot with POST /v1/sessions/{session.Name}/snapshots/{{version}}/restore, "
        + $"replace it with PUT /v1/sessions/{session.Name}/state, or delete it; no other session is affected")
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
