using System.Runtime.CompilerServices;

namespace BnService.Core.Layers;

/// <summary>γ with its offset, by the stored array, which is never written and shared between versions: no request of a version has to add.</summary>
/// <param name="Offset">The offset.</param>
/// <param name="Values">The stored values and it.</param>
internal sealed record OffsetGamma(double Offset, double[] Values)
{
    // Of layers that share an array and not the offset, one at a time.
    private static readonly ConditionalWeakTable<double[], OffsetGamma> Known = [];

    /// <summary>γ as it multiplies.</summary>
    /// <param name="stored">The stored values.</param>
    /// <param name="offset">What is added to each.</param>
    public static double[] Of(double[] stored, double offset)
    {
        if (Known.TryGetValue(stored, out var known) && known.Offset == offset) return known.Values;
        var gamma = new OffsetGamma(offset, Array.ConvertAll(stored, value => value + offset));
        Known.AddOrUpdate(stored, gamma);
        return gamma.Values;
    }
}
