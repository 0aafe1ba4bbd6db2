using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A session to create.</summary>
public sealed class CreateSessionRequest : LayerOptionsRequest
{
    /// <summary>
    /// Name of the session: 1 to 128 letters, digits, dots, underscores or hyphens, the first one a letter or digit. Without it the \
    /// session is known by its id.
    /// </summary>
    [RegularExpression("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    public string? Name { get; set; }

    /// <summary>Up to 64 labels of the caller's choice; keys up to 64 characters, values up to 256.</summary>
    public Dictionary<string, string>? Labels { get; set; }

    /// <summary>
    /// Whose convention the options are meant in: it sets the framework's defaults for the kind (momentum, eps, unbiased_running_var,
    /// channel_axis, affine, zero_debias) and says whether momentum weighs the new batch or the old statistics (keras, flax, onnx,
    /// caffe). The session's own options are always in this service's terms; the answer lists what was converted.
    /// </summary>
    public Framework? Convention { get; set; }
}

/// <summary>Changes to a session; what is absent stays. Nothing that changes shapes can be changed.</summary>
public sealed class PatchSessionRequest
{
    /// <summary>
    /// Weight of the new batch in the running statistics, 0 to 1, whatever the session's convention; null for the average over all \
    /// batches.
    /// </summary>
    [NullIsValue]
    public double? Momentum
    {
        get;
        set
        {
            field = value;
            ChangesMomentum = true;
        }
    }

    /// <summary>Whether momentum was sent; null is one of its values.</summary>
    [JsonIgnore]
    public bool ChangesMomentum { get; private set; }

    /// <summary>Added to the variance, 0 or more.</summary>
    public double? Eps { get; set; }

    /// <summary>train or frozen.</summary>
    public NormalizationMode? Mode { get; set; }

    /// <summary>batch_renorm: new limits.</summary>
    public RenormOptions? Renorm { get; set; }

    /// <summary>Replaces all labels.</summary>
    public Dictionary<string, string>? Labels { get; set; }
}

/// <summary>What a reset takes back beside the running statistics and counters.</summary>
public sealed class ResetRequest
{
    /// <summary>Whether gamma, beta and the optimizer's buffers go back to their start as well.</summary>
    public bool Parameters { get; set; }
}

/// <summary>A session: its options, version and counters.</summary>
public sealed class SessionResource
{
    /// <summary>Identifier that never changes and is never used again.</summary>
    public required string Id { get; init; }

    /// <summary>Name; the id where none was chosen.</summary>
    public required string Name { get; init; }

    /// <summary>Kind of the layer.</summary>
    public required NormalizerKind Kind { get; init; }

    /// <summary>Number of channels; for layer_norm and rms_norm the number of elements of a row.</summary>
    public required int NumFeatures { get; init; }

    /// <summary>Trailing dimensions of a row; absent for kinds with channels.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? NormalizedShape { get; init; }

    /// <summary>Number of groups of channels; absent for other kinds than group_norm.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? NumGroups { get; init; }

    /// <summary>Added to the variance.</summary>
    public required double Eps { get; init; }

    /// <summary>Weight of the new batch in the running statistics; null for the average over all batches.</summary>
    public required double? Momentum { get; init; }

    /// <summary>Whether gamma and beta exist.</summary>
    public required bool Affine { get; init; }

    /// <summary>Whether beta exists, where gamma does.</summary>
    public required bool Bias { get; init; }

    /// <summary>Whether gamma exists, where parameters do.</summary>
    public required bool Scale { get; init; }

    /// <summary>What is added to gamma: 1 where it is kept as its difference from 1.</summary>
    public required double GammaOffset { get; init; }

    /// <summary>Whether running statistics are kept.</summary>
    public required bool TrackRunningStats { get; init; }

    /// <summary>Whether the running variance takes M2/(m-1) or M2/m.</summary>
    public required bool UnbiasedRunningVar { get; init; }

    /// <summary>Whether the moving average is divided by the weight of the batches in it.</summary>
    public required bool ZeroDebias { get; init; }

    /// <summary>Axis of the channels: 1, or -1 for channels last.</summary>
    public required int ChannelAxis { get; init; }

    /// <summary>What shares a statistic.</summary>
    public required Granularity Granularity { get; init; }

    /// <summary>What a train-step normalizes with.</summary>
    public required NormalizationMode Mode { get; init; }

    /// <summary>What follows the affine map.</summary>
    public required Activation Activation { get; init; }

    /// <summary>What batches, outputs and gradients are, and are computed in.</summary>
    public required Precision Precision { get; init; }

    /// <summary>Initial value of gamma.</summary>
    public required double GammaInit { get; init; }

    /// <summary>Initial value of beta.</summary>
    public required double BetaInit { get; init; }

    /// <summary>Samples of a ghost batch; null for statistics over the whole batch.</summary>
    public required int? GhostBatchSize { get; init; }

    /// <summary>Limits of batch_renorm; absent for other kinds.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public RenormOptions? Renorm { get; init; }

    /// <summary>What becomes of NaN and infinity in a train-step.</summary>
    public required NonFinitePolicy NonFinite { get; init; }

    /// <summary>Whether inference is refused until there are running statistics.</summary>
    public required bool RequireStatistics { get; init; }

    /// <summary>Labels of the caller's choice.</summary>
    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>The convention that the session's options were sent in, and what was converted then; null where none was named.</summary>
    public required ConventionReport? Convention { get; init; }

    /// <summary>Number of batches that moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>Version of the state; grows by one with every change and is the ETag.</summary>
    public required long Version { get; init; }

    /// <summary>When the session was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>When its state last changed.</summary>
    public required DateTimeOffset UpdatedAt { get; init; }

    /// <summary>How it is, in a list with include=health; absent elsewhere.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public HealthReport? Health { get; init; }

    /// <summary>
    /// Divergence of the batches of the last 32 train-steps of this node, in nats and oldest first, in a list with include=drift; absent \
    /// elsewhere.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<double>? Drift { get; init; }
}

/// <summary>How a session is, in one word.</summary>
public sealed class HealthReport
{
    /// <summary>The word: the worst that was found.</summary>
    public required Health Mark { get; init; }

    /// <summary>What was seen.</summary>
    public required string Reason { get; init; }
}

/// <summary>
/// A session that is damaged in the storage: every call on it is refused (state-damaged) until it is deleted, restored from a snapshot or \
/// replaced with PUT state.
/// </summary>
public sealed class DamagedSession
{
    /// <summary>Its identifier.</summary>
    public required string Id { get; init; }

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Version of the state that was stored.</summary>
    public required long Version { get; init; }

    /// <summary>When it was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
}

/// <summary>A page of sessions, newest first.</summary>
public sealed class SessionList
{
    /// <summary>The sessions of this page.</summary>
    public required IReadOnlyList<SessionResource> Sessions { get; init; }

    /// <summary>The sessions of this page whose stored header is damaged; absent where there are none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<DamagedSession>? Damaged { get; init; }

    /// <summary>Send it as cursor for the next page; null on the last one.</summary>
    public required string? NextCursor { get; init; }

    /// <summary>Number of sessions on all pages, whatever their health, with include=total; absent elsewhere.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? Total { get; init; }
}

/// <summary>
/// The options in which two sessions differ: what they compute with, in this service's terms, whatever convention they were sent in.
/// </summary>
internal static class OptionDifferences
{
    private static readonly string[] Options =
    [
        .. ContractField.Of(ContractJson.Context.CreateSessionRequest).Where(field => field.Property.Set is not null)
            .Select(field => field.Name)
            .Except(["name", "labels", "convention"]),
    ];

    /// <summary>A sentence about each of them; null where there is none.</summary>
    /// <param name="there">The session that is there.</param>
    /// <param name="sent">The one that was asked for.</param>
    public static string? Between(SessionResource there, SessionResource sent)
    {
        var (stored, asked) = (Fields(there), Fields(sent));
        var differing = Options.Where(option => Text(stored, option) != Text(asked, option)).ToList();
        return differing.Count == 0 ? null
            : string.Join("; ", differing.Select(option => $"{option} is {Text(stored, option)}, sent was {Text(asked, option)}"));
    }

    private static JsonElement Fields(SessionResource session) =>
        JsonSerializer.SerializeToElement(session, ContractJson.Context.SessionResource);

    private static string Text(JsonElement fields, string option) => fields.TryGetProperty(option, out var value) ? value.GetRawText()
        : "absent";
}
