using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Sessions;

/// <summary>A session at one version. Immutable.</summary>
/// <param name="Id">Identifier; never used again.</param>
/// <param name="Name">Name; the id where none was chosen.</param>
/// <param name="Labels">Labels of the caller's choice.</param>
/// <param name="CreatedAt">When the session was created.</param>
/// <param name="UpdatedAt">When its state last changed.</param>
/// <param name="Layer">The layer's state, which carries the version.</param>
public sealed record SessionRecord(
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

    /// <summary>What of it could not be read: then it stands in for the session until another state replaces it, and is never served.</summary>
    internal Damage Damage { get; init; }

    /// <summary>Bytes that are stored of it; set where it is encoded or decoded, before anybody else has it.</summary>
    internal long StoredSize { get; set; }

    /// <summary>Whose turn it takes to be stored: its key's, or where that is none its own.</summary>
    internal string Writer => Owner ?? Id;

    /// <summary>The number of the write that makes this state, or has made it: each state has its own; 0 where the store keeps none.</summary>
    public long Mark { get; init; }

    /// <summary>Which of the stored states it is.</summary>
    public StoredVersion Stored => new(Layer.Version, Mark);

    // Names, labels, options and the objects around them, roughly.
    private const long BytesBesideArrays = 2048;

    /// <summary>The session without its arrays.</summary>
    public SessionSummary Summary => new(
        Id, Name, Labels, CreatedAt, UpdatedAt, Layer.Options, Convention, Layer.Version, Layer.Running?.BatchesTracked ?? 0);

    /// <summary>Memory that the state takes, in bytes, roughly.</summary>
    public long ResidentBytes
    {
        get
        {
            var parameters = (Layer.Gamma is null ? 0 : 1) + (Layer.Beta is null ? 0 : 1);
            var arrays = (parameters * (Layer.Optimizer is null ? 1 : 3)) + (Layer.Running is null ? 0 : 2) + (Layer.LastBatch is null ? 0 : 2)
                + (Layer.Seen is null ? 0 : 3) + (Layer.Population is null ? 0 : 3)
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
/// <param name="Id">Identifier.</param>
/// <param name="Name">Name.</param>
/// <param name="Labels">Labels of the caller's choice.</param>
/// <param name="CreatedAt">When the session was created.</param>
/// <param name="UpdatedAt">When its state last changed.</param>
/// <param name="Options">The layer's options.</param>
/// <param name="Convention">The convention that they were sent in; null where none was named.</param>
/// <param name="Version">Version of the state.</param>
/// <param name="BatchesTracked">Number of batches that have moved the running statistics.</param>
public sealed record SessionSummary(
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
