using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Storage;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>
/// A session's state as the bytes that a store keeps: a safetensors file with PyTorch's names, as GET state answers, all arrays float64
/// and everything else as JSON in one text.
/// </summary>
internal static class SessionEncoding
{
    private const string HeaderName = "session", TrackedName = "num_batches_tracked";

    /// <summary>Encodes a session.</summary>
    public static StoredSession Encode(SessionRecord session)
    {
        var layer = session.Layer;
        var file = new SafetensorsFile();
        foreach (var (name, array) in ArraysOf(layer))
        {
            if (array is not null) file.Add(name, array);
        }
        if (layer.Running is { } running) file.Add(TrackedName, running.BatchesTracked);
        file.AddText(HeaderName, JsonSerializer.Serialize(
            new StateHeader(layer.Options, layer.Features, layer.FeaturesAreFixed, session.Labels, session.UpdatedAt,
                layer.Running?.IsInitial, layer.LastBatch?.Count, layer.Optimizer?.Optimizer, layer.Optimizer?.Step)
            {
                StatisticsAreGiven = layer.Running?.AreGiven == true,
                SeenCount = layer.Seen?.Count,
                SeenBatches = layer.SeenBatches,
                PopulationCount = layer.Population?.Moments.Count,
                PopulationBatches = layer.Population?.Batches ?? 0,
                Convention = session.Convention,
            },
            StateJson.Default.StateHeader));
        return new StoredSession(session.Id, session.Name, session.Layer.Options.Kind.WireName, layer.Version, session.CreatedAt, file.ToArray());
    }

    /// <summary>Decodes a session.</summary>
    public static SessionRecord Decode(StoredSession stored)
    {
        var bytes = stored.State.Span;
        var headerLength = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        var file = SafetensorsHeader.Parse(bytes.Slice(sizeof(ulong), headerLength));
        var header = JsonSerializer.Deserialize(file.Metadata[HeaderName], StateJson.Default.StateHeader)!;
        var arrays = new Arrays(file, stored.State[(sizeof(ulong) + headerLength)..]);
        var layer = new LayerState
        {
            Options = header.Options,
            Version = stored.Version,
            Features = header.Features,
            FeaturesAreFixed = header.FeaturesAreFixed,
            Gamma = arrays.Find("weight"),
            Beta = arrays.Find("bias"),
            Running = arrays.Find("running_mean") is { } mean
                ? new RunningStatistics(mean, arrays["running_var"], arrays.Number(TrackedName), header.StatisticsAreInitial == true)
                {
                    AreGiven = header.StatisticsAreGiven,
                }
                : null,
            LastBatch = header.LastCount is { } count ? new LastBatch(arrays["last_batch.mean"], arrays["last_batch.var"], count) : null,
            Optimizer = header.Optimizer is { } optimizer
                ? new OptimizerBuffers(optimizer, header.OptimizerStep ?? 0, arrays.Buffers("optimizer.gamma")!, arrays.Buffers("optimizer.beta"))
                : null,
            Seen = header.SeenCount is { } seen ? arrays.Moments("seen", seen) : null,
            SeenBatches = header.SeenBatches,
            Population = header.PopulationCount is { } gathered
                ? new PopulationEstimate(arrays.Moments("population", gathered), header.PopulationBatches)
                : null,
        };
        return new SessionRecord(stored.Id, stored.Name, header.Labels, stored.CreatedAt, header.UpdatedAt, layer) { Convention = header.Convention };
    }

    // By the names that PUT state gives them.
    private static (string Name, double[]? Array)[] ArraysOf(LayerState layer) =>
    [
        ("weight", layer.Gamma), ("bias", layer.Beta), ("running_mean", layer.Running?.Mean), ("running_var", layer.Running?.Variance),
        ("last_batch.mean", layer.LastBatch?.Mean), ("last_batch.var", layer.LastBatch?.Variance),
        ("optimizer.gamma.first", layer.Optimizer?.Gamma.First), ("optimizer.gamma.second", layer.Optimizer?.Gamma.Second),
        ("optimizer.beta.first", layer.Optimizer?.Beta?.First), ("optimizer.beta.second", layer.Optimizer?.Beta?.Second),
        ("seen.mean", layer.Seen?.Mean), ("seen.mean_residual", layer.Seen?.MeanResidual), ("seen.m2", layer.Seen?.M2),
        ("population.mean", layer.Population?.Moments.Mean), ("population.mean_residual", layer.Population?.Moments.MeanResidual),
        ("population.m2", layer.Population?.Moments.M2),
    ];

    private sealed class Arrays(SafetensorsHeader file, ReadOnlyMemory<byte> elements)
    {
        private readonly Dictionary<string, SafetensorsEntry> _byName = file.Entries.ToDictionary(entry => entry.Name);

        public double[] this[string name] => Find(name)!;

        public double[]? Find(string name) =>
            _byName.TryGetValue(name, out var entry) ? MemoryMarshal.Cast<byte, double>(Bytes(entry)).ToArray() : null;

        public long Number(string name) => BinaryPrimitives.ReadInt64LittleEndian(Bytes(_byName[name]));

        public Moments Moments(string name, long count) => new(count, this[$"{name}.mean"], this[$"{name}.mean_residual"], this[$"{name}.m2"]);

        public OptimizerMoments? Buffers(string name) => Find($"{name}.first") is { } first ? new(first, this[$"{name}.second"]) : null;

        private ReadOnlySpan<byte> Bytes(SafetensorsEntry entry) => elements.Span[(int)entry.Begin..(int)entry.End];
    }
}

/// <summary>All of a session's state but its arrays.</summary>
internal sealed record StateHeader(
    NormalizerOptions Options,
    int Features,
    bool FeaturesAreFixed,
    IReadOnlyDictionary<string, string> Labels,
    DateTimeOffset UpdatedAt,
    bool? StatisticsAreInitial,
    long? LastCount,
    Optimizer? Optimizer,
    long? OptimizerStep)
{
    /// <summary>Whether the running statistics were replaced as a whole.</summary>
    public bool StatisticsAreGiven { get; init; }

    /// <summary>Number of values in the union of all that was seen; null where there is none.</summary>
    public long? SeenCount { get; init; }

    /// <summary>Number of batches in it.</summary>
    public long SeenBatches { get; init; }

    /// <summary>Number of values in the population estimate; null where there is none.</summary>
    public long? PopulationCount { get; init; }

    /// <summary>Number of batches in it.</summary>
    public long PopulationBatches { get; init; }

    public AppliedConvention? Convention { get; init; }
}

/// <summary>How the header is written.</summary>
[JsonSourceGenerationOptions(UseStringEnumConverter = true)]
[JsonSerializable(typeof(StateHeader))]
internal sealed partial class StateJson : JsonSerializerContext;
