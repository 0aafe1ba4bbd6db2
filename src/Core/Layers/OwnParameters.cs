using System.Globalization;
using System.Runtime.CompilerServices;
using BnService.Core.Normalizers;

namespace BnService.Core.Layers;

/// <summary>gamma and beta that a caller brings for one call, in place of the layer's; null leaves the layer's as it is.</summary>
/// <param name="Gamma">γ, finite.</param>
/// <param name="Beta">β, finite.</param>
public sealed record OwnParameters(double[]? Gamma, double[]? Beta)
{
    /// <summary>The parameters that were sent; null where none were.</summary>
    public static OwnParameters? Of(double[]? gamma, double[]? beta) => gamma is null && beta is null ? null : new(gamma, beta);

    /// <summary>
    /// A layer with these parameters, whether or not it has any itself, as the functional forms of the frameworks take them.
    /// </summary>
    /// <param name="layer">The layer, sized for the batch.</param>
    /// <exception cref="LayerException">A wrong length, a value that is not finite, or a beta for a kind that has none.</exception>
    public LayerState On(LayerState layer)
    {
        ArgumentNullException.ThrowIfNull(layer);
        if (Beta is not null && !layer.Options.Kind.HasMean)
            throw new LayerException(LayerError.InvalidOption, $"beta was sent, but {layer.Options.Kind.WireName} has a gamma and no beta");
        foreach (var (values, name) in new[] { (Gamma, "gamma"), (Beta, "beta") })
        {
            if (values is null) continue;
            StateValues.RequireLength(name, values, layer.Features);
            StateValues.RequireFinite(name, values);
        }
        return layer with { Gamma = Gamma ?? layer.Gamma, Beta = Beta ?? layer.Beta };
    }
}

/// <summary>
/// γ with its offset, by the stored array, which is never written and shared between versions: no request of a version has to add.
/// </summary>
internal sealed record OffsetGamma(double Offset, double[] Values)
{
    // Of layers that share an array and not the offset, one at a time.
    private static readonly ConditionalWeakTable<double[], OffsetGamma> Known = [];

    /// <summary>γ as it multiplies.</summary>
    public static double[] Of(double[] stored, double offset)
    {
        if (Known.TryGetValue(stored, out var known) && known.Offset == offset) return known.Values;
        var gamma = new OffsetGamma(offset, Array.ConvertAll(stored, value => value + offset));
        Known.AddOrUpdate(stored, gamma);
        return gamma.Values;
    }
}

/// <summary>
/// Checks of values from outside that are to become a layer's state; each refusal names the values, what came and what is allowed.
/// </summary>
public static class StateValues
{
    /// <summary>Refuses another number of values than one per statistic.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/>.</exception>
    public static void RequireLength(string name, double[] values, int length)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (values.Length == length) return;
        throw new LayerException(LayerError.ShapeMismatch,
            $"{name} must have {length} values{(length == 0 ? "" : ", one per statistic")}, got {values.Length}");
    }

    /// <summary>Refuses NaN and infinities.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/>.</exception>
    public static void RequireFinite(string name, double[] values)
    {
        if (Array.FindIndex(values, value => !double.IsFinite(value)) is var index and >= 0)
            throw Invalid(string.Create(CultureInfo.InvariantCulture, $"{name}[{index}] must be a finite number, got {values[index]:R}"));
    }

    /// <summary>Refuses negative values.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/>.</exception>
    public static void RequireNonNegative(string name, double[] values)
    {
        if (Array.FindIndex(values, value => value < 0) is var index and >= 0)
            throw Invalid(string.Create(CultureInfo.InvariantCulture, $"{name}[{index}] must be 0 or more, got {values[index]:R}"));
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}
