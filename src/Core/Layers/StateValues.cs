using System.Globalization;

namespace BnService.Core.Layers;

/// <summary>Checks of values from outside that are to become a layer's state; each refusal names the values, what came and what is allowed.</summary>
public static class StateValues
{
    /// <summary>Refuses another number of values than one per statistic.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/>.</exception>
    public static void RequireLength(string name, double[] values, int length)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (values.Length == length) return;
        throw new LayerException(LayerError.ShapeMismatch, $"{name} must have {length} values{(length == 0 ? "" : ", one per statistic")}, got {values.Length}");
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
