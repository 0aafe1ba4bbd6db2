using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core.Normalizers;

namespace BnService.Api.Contracts;

/// <summary>The kind of a session's layer.</summary>
public enum LayerKind
{
    /// <summary>Batch normalization (Ioffe &amp; Szegedy 2015).</summary>
    BatchNorm,
}

/// <summary>A session to create. Only num_features has no default; the other defaults are PyTorch's.</summary>
public sealed class CreateSessionRequest
{
    /// <summary>Name of the session: 1 to 128 letters, digits, dots, underscores or hyphens, the first one a letter or digit. Without it the session is known by its id.</summary>
    [RegularExpression("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    public string? Name { get; set; }

    /// <summary>Kind of the layer.</summary>
    public LayerKind Kind { get; set; }

    /// <summary>Number of channels.</summary>
    [Required, Range(1, int.MaxValue)]
    public int NumFeatures { get; set; }

    /// <summary>Added to the variance, 0 or more. With 0 a constant channel is normalized to exactly 0.</summary>
    [Range(0, double.MaxValue)]
    public double Eps { get; set; } = 1e-5;

    /// <summary>Weight of the NEW batch in the running statistics, 0 to 1 (PyTorch's convention); null for the average over all batches.</summary>
    [Range(0.0, 1.0)]
    public double? Momentum { get; set; } = 0.1;

    /// <summary>Whether gamma and beta exist.</summary>
    public bool Affine { get; set; } = true;

    /// <summary>Whether beta exists; false leaves gamma alone.</summary>
    public bool Bias { get; set; } = true;

    /// <summary>Whether running statistics are kept. Without them inference normalizes with the batch's own.</summary>
    public bool TrackRunningStats { get; set; } = true;

    /// <summary>Whether the running variance takes M2/(m-1), as PyTorch and the paper do, or M2/m, as Keras does.</summary>
    public bool UnbiasedRunningVar { get; set; } = true;

    /// <summary>Axis of the channels: 1, or -1 for channels last.</summary>
    [AllowedValues(1, -1)]
    public int ChannelAxis { get; set; } = 1;

    /// <summary>One statistic per channel, or one per position of a sample (channels × spatial), over the batch alone.</summary>
    public Granularity Granularity { get; set; }

    /// <summary>train: a train-step normalizes with the batch. frozen: with the running statistics, which it leaves alone.</summary>
    public NormalizationMode Mode { get; set; }

    /// <summary>What follows the affine map; relu is fused into forward and undone in backward.</summary>
    public Activation Activation { get; set; }

    /// <summary>Initial value of gamma.</summary>
    public double GammaInit { get; set; } = 1;

    /// <summary>Initial value of beta.</summary>
    public double BetaInit { get; set; }

    /// <summary>Size of the sub-batches of ghost batch normalization. Only null is supported: statistics over the whole batch.</summary>
    public int? GhostBatchSize { get; set; }

    /// <summary>Whether a train-step with NaN or infinity in x is refused, or goes into the statistics as in PyTorch.</summary>
    public NonFinitePolicy NonFinite { get; set; }

    /// <summary>Whether inference is refused until the running statistics have seen a batch or have been set.</summary>
    public bool RequireStatistics { get; set; }

    /// <summary>Up to 64 labels of the caller's choice; keys up to 64 characters, values up to 256.</summary>
    public Dictionary<string, string>? Labels { get; set; }
}

/// <summary>Changes to a session; what is absent stays. Nothing that changes shapes can be changed.</summary>
public sealed class PatchSessionRequest
{
    /// <summary>Weight of the new batch in the running statistics, 0 to 1; null for the average over all batches.</summary>
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
    public required LayerKind Kind { get; init; }

    /// <summary>Number of channels.</summary>
    public required int NumFeatures { get; init; }

    /// <summary>Added to the variance.</summary>
    public required double Eps { get; init; }

    /// <summary>Weight of the new batch in the running statistics; null for the average over all batches.</summary>
    public required double? Momentum { get; init; }

    /// <summary>Whether gamma and beta exist.</summary>
    public required bool Affine { get; init; }

    /// <summary>Whether beta exists, where gamma does.</summary>
    public required bool Bias { get; init; }

    /// <summary>Whether running statistics are kept.</summary>
    public required bool TrackRunningStats { get; init; }

    /// <summary>Whether the running variance takes M2/(m-1) or M2/m.</summary>
    public required bool UnbiasedRunningVar { get; init; }

    /// <summary>Axis of the channels: 1, or -1 for channels last.</summary>
    public required int ChannelAxis { get; init; }

    /// <summary>What shares a statistic.</summary>
    public required Granularity Granularity { get; init; }

    /// <summary>What a train-step normalizes with.</summary>
    public required NormalizationMode Mode { get; init; }

    /// <summary>What follows the affine map.</summary>
    public required Activation Activation { get; init; }

    /// <summary>Initial value of gamma.</summary>
    public required double GammaInit { get; init; }

    /// <summary>Initial value of beta.</summary>
    public required double BetaInit { get; init; }

    /// <summary>Always null: statistics are taken over the whole batch.</summary>
    public required int? GhostBatchSize { get; init; }

    /// <summary>What becomes of NaN and infinity in a train-step.</summary>
    public required NonFinitePolicy NonFinite { get; init; }

    /// <summary>Whether inference is refused until there are running statistics.</summary>
    public required bool RequireStatistics { get; init; }

    /// <summary>Labels of the caller's choice.</summary>
    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>Number of batches that moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>Version of the state; grows by one with every change and is the ETag.</summary>
    public required long Version { get; init; }

    /// <summary>When the session was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>When its state last changed.</summary>
    public required DateTimeOffset UpdatedAt { get; init; }
}

/// <summary>A page of sessions, newest first.</summary>
public sealed class SessionList
{
    /// <summary>The sessions of this page.</summary>
    public required IReadOnlyList<SessionResource> Sessions { get; init; }

    /// <summary>Send it as cursor for the next page; null on the last one.</summary>
    public required string? NextCursor { get; init; }
}
