using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

// length of the header (u32, little-endian) | header (JSON: all but arrays) | arrays (f64, little-endian), in the order of Arrays

/// <summary>A session's state as the bytes that a store keeps.</summary>
internal static class SessionEncoding
{
    /// <summary>Encodes a session.</summary>
    public static StoredSession Encode(SessionRecord session)
    {
        var layer = session.Layer;
        double[]?[] arrays =
        [
            layer.Gamma, layer.Beta, layer.Running?.Mean, layer.Running?.Variance, layer.LastBatch?.Mean, layer.LastBatch?.Variance,
            layer.Optimizer?.Gamma.First, layer.Optimizer?.Gamma.Second, layer.Optimizer?.Beta?.First, layer.Optimizer?.Beta?.Second,
            layer.Seen?.Mean, layer.Seen?.MeanResidual, layer.Seen?.M2,
            layer.Population?.Moments.Mean, layer.Population?.Moments.MeanResidual, layer.Population?.Moments.M2,
        ];
        var header = JsonSerializer.SerializeToUtf8Bytes(
            new StateHeader(layer.Options, layer.Features, layer.FeaturesAreFixed, session.Labels, session.UpdatedAt,
                layer.Running?.BatchesTracked, layer.Running?.IsInitial, layer.LastBatch?.Count, layer.Optimizer?.Optimizer, layer.Optimizer?.Step,
                Array.ConvertAll(arrays, array => array?.Length))
            {
                StatisticsAreGiven = layer.Running?.AreGiven == true,
                SeenCount = layer.Seen?.Count,
                SeenBatches = layer.SeenBatches,
                PopulationCount = layer.Population?.Moments.Count,
                PopulationBatches = layer.Population?.Batches ?? 0,
                Convention = session.Convention,
            },
            StateJson.Default.StateHeader);
        var bytes = new byte[sizeof(int) + header.Length + arrays.Sum(array => (long)(array?.Length ?? 0) * sizeof(double))];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, header.Length);
        header.CopyTo(bytes.AsSpan(sizeof(int)));
        var rest = bytes.AsSpan(sizeof(int) + header.Length);
        foreach (var array in arrays)
        {
            if (array is null) continue;
            MemoryMarshal.AsBytes(array.AsSpan()).CopyTo(rest);
            rest = rest[(array.Length * sizeof(double))..];
        }
        return new StoredSession(session.Id, session.Name, session.Layer.Options.Kind.WireName, layer.Version, session.CreatedAt, bytes);
    }

    /// <summary>Decodes a session.</summary>
    public static SessionRecord Decode(StoredSession stored)
    {
        var bytes = stored.State.Span;
        var headerLength = BinaryPrimitives.ReadInt32LittleEndian(bytes);
        var header = JsonSerializer.Deserialize(bytes.Slice(sizeof(int), headerLength), StateJson.Default.StateHeader)!;
        var arrays = DecodeArrays(bytes[(sizeof(int) + headerLength)..], header.ArrayLengths);
        var layer = new LayerState
        {
            Options = header.Options,
            Version = stored.Version,
            Features = header.Features,
            FeaturesAreFixed = header.FeaturesAreFixed,
            Gamma = arrays[0],
            Beta = arrays[1],
            Running = header.BatchesTracked is { } tracked
                ? new RunningStatistics(arrays[2]!, arrays[3]!, tracked, header.StatisticsAreInitial == true)
                {
                    AreGiven = header.StatisticsAreGiven,
                }
                : null,
            LastBatch = header.LastCount is { } count ? new LastBatch(arrays[4]!, arrays[5]!, count) : null,
            Optimizer = header.Optimizer is { } optimizer
                ? new OptimizerBuffers(optimizer, header.OptimizerStep ?? 0, new OptimizerMoments(arrays[6]!, arrays[7]!),
                    arrays[8] is null ? null : new OptimizerMoments(arrays[8]!, arrays[9]!))
                : null,
            Seen = header.SeenCount is { } seen ? new Moments(seen, arrays[10]!, arrays[11]!, arrays[12]!) : null,
            SeenBatches = header.SeenBatches,
            Population = header.PopulationCount is { } gathered
                ? new PopulationEstimate(new Moments(gathered, arrays[13]!, arrays[14]!, arrays[15]!), header.PopulationBatches)
                : null,
        };
        return new SessionRecord(stored.Id, stored.Name, header.Labels, stored.CreatedAt, header.UpdatedAt, layer) { Convention = header.Convention };
    }

    private static double[]?[] DecodeArrays(ReadOnlySpan<byte> bytes, int?[] lengths)
    {
        var arrays = new double[]?[lengths.Length];
        for (var i = 0; i < arrays.Length; i++)
        {
            if (lengths[i] is not { } length) continue;
            arrays[i] = MemoryMarshal.Cast<byte, double>(bytes[..(length * sizeof(double))]).ToArray();
            bytes = bytes[(length * sizeof(double))..];
        }
        return arrays;
    }
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
    long? OptimizerStep,
    int?[] ArrayLengths)
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
