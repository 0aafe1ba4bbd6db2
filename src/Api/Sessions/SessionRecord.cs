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

    // Names, labels, options and the objects around them, roughly.
    private const long BytesBesideArrays = 2048;

    /// <summary>Memory that the session takes, decoded and encoded, in bytes.</summary>
    public long Bytes
    {
        get
        {
            var parameters = (Layer.Gamma is null ? 0 : 1) + (Layer.Beta is null ? 0 : 1);
            var arrays = (parameters * (Layer.Optimizer is null ? 1 : 3)) + (Layer.Running is null ? 0 : 2) + (Layer.LastBatch is null ? 0 : 2)
                + (Layer.Seen is null ? 0 : 3) + (Layer.Population is null ? 0 : 3);
            var labels = Labels.Sum(label => (long)(label.Key.Length + label.Value.Length) * sizeof(char));
            return BytesBesideArrays + (2 * (labels + ((long)arrays * Layer.Features * sizeof(double))));
        }
    }
}
