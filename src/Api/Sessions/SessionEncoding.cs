using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Storage;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>
/// A session as the bytes that a store keeps: its arrays as a safetensors file with PyTorch's names, as GET state answers, all float64, long ones
/// that hold one value throughout as that value (a service of before refuses them), and everything else as JSON.
/// </summary>
internal static partial class SessionEncoding
{
    /// <summary>Encodes a session.</summary>
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

    /// <summary>Encodes a state that is to be frozen.</summary>
    public static StoredSnapshot EncodeSnapshot(SessionRecord session, DateTimeOffset frozenAt, string? description)
    {
        var (header, state) = (Header(session, new(frozenAt, description)), Arrays(session.Layer));
        Checksum.Seal(header, state, Checksum.Identity(session.Id, "", session.Layer.Version, 0));
        return new(session.Id, session.Layer.Version, header, state);
    }

    private static StateHeader Parse(ReadOnlyMemory<byte> header) => JsonSerializer.Deserialize(header.Span, StateJson.Default.StateHeader)!;

    private static byte[] Header(SessionRecord session, SnapshotHeader? snapshot)
    {
        var layer = session.Layer;
        return JsonSerializer.SerializeToUtf8Bytes(
            new StateHeader(layer.Options, layer.Features, layer.FeaturesAreFixed, session.Labels, session.UpdatedAt, layer.Running?.BatchesTracked,
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
                ? new OptimizerBuffers(optimizer, header.OptimizerStep ?? 0, Buffers(arrays, "optimizer.gamma", header.GammaStep), Buffers(arrays, "optimizer.beta", header.BetaStep))
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
}

/// <summary>All of a session's state but its arrays.</summary>
internal sealed record StateHeader(
    NormalizerOptions Options,
    int Features,
    bool FeaturesAreFixed,
    IReadOnlyDictionary<string, string> Labels,
    DateTimeOffset UpdatedAt,
    long? BatchesTracked,
    bool? StatisticsAreInitial,
    long? LastCount,
    Optimizer? Optimizer,
    long? OptimizerStep)
{
    /// <summary>Whether the running statistics were replaced as a whole.</summary>
    public bool StatisticsAreGiven { get; init; }

    /// <summary>The weight of the batches in statistics that have been divided by it; null where they have not.</summary>
    public double? StatisticsWeight { get; init; }

    /// <summary>Number of samples of the last batch; null where it is not known.</summary>
    public long? LastSamples { get; init; }

    /// <summary>Number of gamma's updates, where it is another than the optimizer's.</summary>
    public long? GammaStep { get; init; }

    /// <summary>Number of beta's updates, where it is another than the optimizer's.</summary>
    public long? BetaStep { get; init; }

    /// <summary>Number of values in the union of all that was seen; null where there is none.</summary>
    public long? SeenCount { get; init; }

    /// <summary>Number of batches in it.</summary>
    public long SeenBatches { get; init; }

    /// <summary>Number of values in the population estimate; null where there is none.</summary>
    public long? PopulationCount { get; init; }

    /// <summary>Number of batches in it.</summary>
    public long PopulationBatches { get; init; }

    /// <summary>The convention that the options were sent in; null where none was named.</summary>
    public AppliedConvention? Convention { get; init; }

    /// <summary>What is said of a state that has been frozen; null for a session's own.</summary>
    public SnapshotHeader? Snapshot { get; init; }

    /// <summary>
    /// How the layer is, as far as its state alone tells; null for a snapshot, and where an earlier service has stored the session, which said it
    /// by another rule in a member <c>Health</c>.
    /// </summary>
    public LayerHealth? Condition { get; init; }

    /// <summary>The checksums (<see cref="Checksum"/>), the last member; null where a service before this one has stored it.</summary>
    [JsonPropertyOrder(int.MaxValue)]
    public string? Sums { get; init; }
}

/// <summary>What is said of a snapshot beside its state.</summary>
internal sealed record SnapshotHeader(DateTimeOffset FrozenAt, string? Description);

/// <summary>How the header is written.</summary>
[JsonSourceGenerationOptions(UseStringEnumConverter = true)]
[JsonSerializable(typeof(StateHeader))]
internal sealed partial class StateJson : JsonSerializerContext;
