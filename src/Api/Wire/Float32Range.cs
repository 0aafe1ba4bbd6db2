using System.Globalization;
using System.Numerics.Tensors;
using BnService.Api.Errors;

namespace BnService.Api.Wire;

/// <summary>Numbers that float32 cannot hold: refused in every form alike, in the words of what was sent.</summary>
internal static class Float32Range
{
    /// <summary>Words for a number that not even float64 can hold.</summary>
    public const string BeyondFloat64 = "beyond float64's range (±1.7976931348623157e308)";

    /// <summary>Refuses the first of some numbers that is finite and too large.</summary>
    /// <param name="field">The tensor's name.</param>
    /// <param name="first">Place of the first number in the tensor.</param>
    /// <param name="sent">The numbers.</param>
    /// <param name="rounded">The same as float32.</param>
    /// <exception cref="ProblemException">One is.</exception>
    public static void Require(string field, int first, ReadOnlySpan<double> sent, ReadOnlySpan<float> rounded)
    {
        if (rounded.IsEmpty || TensorPrimitives.IsFiniteAll(rounded)) return;
        for (var i = 0; i < sent.Length; i++)
        {
            if (float.IsInfinity(rounded[i]) && double.IsFinite(sent[i])) throw Beyond(field, first + i, Text(sent[i]));
        }
    }

    /// <summary>The refusal.</summary>
    /// <param name="field">The tensor's name.</param>
    /// <param name="element">Place of the number in the tensor.</param>
    /// <param name="sent">The number as it was sent.</param>
    public static ProblemException Beyond(string field, int element, string sent) => new(ProblemCode.NonFiniteInput, Text(field, element, sent));

    /// <summary>The words of the refusal.</summary>
    public static string Text(string field, int element, string sent) =>
        $"{field} element {element} is {sent}, beyond float32's range (±3.4028235e38); create the session with precision float64 (an option of /v1/normalize too)";

    private static string Text(double value) =>
        value.ToString("R", CultureInfo.InvariantCulture).Replace("E+", "e", StringComparison.Ordinal).Replace('E', 'e');
}
