using System.IO.Compression;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace BnService.Api.Sessions;

/// <summary>The last of what has passed through a session, as a store keeps it: without what steps were in their channels.</summary>
/// <param name="Steps">The last train-steps, oldest first.</param>
/// <param name="Inferences">The last inference batches that were looked at, oldest first.</param>
/// <param name="Inference">The last inference batch that was looked at.</param>
/// <param name="Frozen">The last batch of a train-step in mode frozen that was looked at.</param>
internal sealed record KeptTraffic(
    IReadOnlyList<StepLine> Steps, IReadOnlyList<InferenceLine> Inferences, ObservedBatch? Inference, ObservedBatch? Frozen)
{
    /// <summary>The most steps that are kept.</summary>
    public const int MostSteps = 128;

    /// <summary>The most inference batches that are kept.</summary>
    public const int MostInferences = 64;

    /// <summary>The most channels of a batch that is kept: those of more are as large as all the rest.</summary>
    public const int MostChannels = 4096;

    /// <summary>Writes it.</summary>
    public byte[] Encode()
    {
        using var bytes = new MemoryStream();
        using (var compressed = new BrotliStream(bytes, CompressionLevel.Fastest, leaveOpen: true))
            JsonSerializer.Serialize(compressed, this with { Inference = Small(Inference), Frozen = Small(Frozen) }, KeptTrafficJson.Default.KeptTraffic);
        bytes.SetLength(bytes.Length + Checksum.Bytes);
        return Checksum.Append(bytes.ToArray());
    }

    /// <summary>Reads it; null where it is damaged, or of a form that this service does not know.</summary>
    public static KeptTraffic? Decode(ReadOnlyMemory<byte> content)
    {
        try
        {
            using var compressed = new BrotliStream(new MemoryStream(Checksum.Content(content).ToArray()), CompressionMode.Decompress);
            return JsonSerializer.Deserialize(compressed, KeptTrafficJson.Default.KeptTraffic) is { Steps: not null, Inferences: not null } kept ? kept : null;
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
