using System.Text.Json.Serialization;
using BnService.Api.Errors;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Sessions;

/// <summary>A session at one version. Immutable.</summary>
internal sealed record SessionRecord(
    string Id,
    string Name,
    IReadOnlyDictionary<string, string> Labels,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    LayerState Layer)
{
    /// <summary>The convention that the options were sent in; null where none was named.</summary>
    public AppliedConvention? Convention { get; init; }

    /// <summary>The id of the key that created it, which it counts for; null where that was none.</summary>
    public string? Owner { get; init; }

    /// <summary>
    /// What of it could not be read: then it stands in for the session until another state replaces it, and is never served.
    /// </summary>
    internal Damage Damage { get; init; }

    /// <summary>Bytes that are stored of it; set where it is encoded or decoded, before anybody else has it.</summary>
    internal long StoredSize { get; set; }

    /// <summary>Whose turn it takes to be stored: its key's, or where that is none its own.</summary>
    internal string Writer => Owner ?? Id;

    /// <summary>
    /// The number of the write that makes this state, or has made it: each state has its own; 0 where the store keeps none.
    /// </summary>
    public long Mark { get; init; }

    /// <summary>Which of the stored states it is.</summary>
    public StoredVersion Stored => new(Layer.Version, Mark);

    // Names, labels, options and the objects around them, roughly.
    private const long BytesBesideArrays = 2048;

    public SessionSummary Summary => new(
        Id, Name, Labels, CreatedAt, UpdatedAt, Layer.Options, Convention, Layer.Version, Layer.Running?.BatchesTracked ?? 0);

    /// <summary>Memory that the state takes, in bytes, roughly.</summary>
    public long ResidentBytes
    {
        get
        {
            var parameters = (Layer.Gamma is null ? 0 : 1) + (Layer.Beta is null ? 0 : 1);
            var arrays = (parameters * (Layer.Optimizer is null ? 1 : 3)) + (Layer.Running is null ? 0 : 2)
                + (Layer.LastBatch is null ? 0 : 2) + (Layer.Seen is null ? 0 : 3) + (Layer.Population is null ? 0 : 3)
                + (Layer.Options.GammaOffset == 0 ? 0 : 1);
            // New layers have two arrays: one of zeros and one of ones.
            if (Layer.Running is { } running)
                arrays -= (ReferenceEquals(Layer.Beta, running.Mean) ? 1 : 0) + (ReferenceEquals(Layer.Gamma, running.Variance) ? 1 : 0);
            var labels = Labels.Sum(label => (long)(label.Key.Length + label.Value.Length) * sizeof(char));
            return BytesBesideArrays + labels + ((long)arrays * Layer.Features * sizeof(double));
        }
    }
}

/// <summary>What a list shows of a session.</summary>
internal sealed record SessionSummary(
    string Id,
    string Name,
    IReadOnlyDictionary<string, string> Labels,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    NormalizerOptions Options,
    AppliedConvention? Convention,
    long Version,
    long BatchesTracked)
{
    /// <summary>How the layer is, as far as its stored state tells; null where that is not known.</summary>
    public LayerHealth? Health { get; init; }

    /// <summary>What of it cannot be read, as far as a look at its header tells.</summary>
    internal Damage Damage { get; init; }
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

    public long SeenBatches { get; init; }

    /// <summary>Number of values in the population estimate; null where there is none.</summary>
    public long? PopulationCount { get; init; }

    public long PopulationBatches { get; init; }

    /// <summary>The convention that the options were sent in; null where none was named.</summary>
    public AppliedConvention? Convention { get; init; }

    /// <summary>What is said of a state that has been frozen; null for a session's own.</summary>
    public SnapshotHeader? Snapshot { get; init; }

    /// <summary>
    /// How the layer is, as far as its state alone tells; null for a snapshot, and where an earlier service has stored the session, which
    /// said it by another rule in a member <c>Health</c>.
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

/// <summary>What of a stored session cannot be read.</summary>
internal enum Damage
{
    /// <summary>Nothing: all of it can.</summary>
    None,

    /// <summary>Its arrays: the options and labels are known.</summary>
    Arrays,

    /// <summary>Its header, and with it everything but who the session is.</summary>
    Header,
}

/// <summary>Something stored is not as it was written: it alone is in trouble.</summary>
/// <param name="detail">Names it, and says what to do.</param>
internal sealed class DamagedStateException(string detail) : ProblemException(ProblemCode.StateDamaged, detail)
{
    /// <summary>What is left of a session, to be deleted or to be given another state; null where it is no session.</summary>
    public SessionRemains? Remains { get; init; }
}

/// <summary>What is left of a session whose stored state is damaged.</summary>
/// <param name="Session">Who it is, with its damage; of its options nothing but the kind where the header is damaged.</param>
/// <param name="Stored">What the store has.</param>
internal sealed record SessionRemains(SessionSummary Session, StoredSession Stored);
