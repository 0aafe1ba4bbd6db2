using System.Globalization;
using System.Numerics.Tensors;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Errors;
using BnService.Core.Tensors;
using Tensor = BnService.Core.Tensors.Tensor;

namespace BnService.Api.Wire;

/// <summary>Brings tensors to the precision that they are computed in.</summary>
internal static class TensorRounding
{
    /// <summary>Rounds float64 to float32.</summary>
    /// <param name="arrivals">Told of the tensor and of what was rounded, or null.</param>
    private static void Round(string field, Tensor sent, Tensor rounded, IArrivals? arrivals)
    {
        TensorPrimitives.ConvertTruncating<double, float>(sent.Doubles, rounded.Data);
        Float32Range.Require(field, 0, sent.Doubles, rounded.Data);
        arrivals?.Begin(field, rounded);
        arrivals?.Rounded(field, sent.Doubles);
        arrivals?.Arrived(field, rounded.Shape.Count);
    }

    /// <summary>Brings every tensor of a message to a precision; those that have another one are exchanged.</summary>
    /// <param name="arrivals">Told of what is rounded, or null.</param>
    public static void Bring(object message, JsonTypeInfo contract, Precision precision, string path = "", IArrivals? arrivals = null)
    {
        foreach (var field in ContractField.Of(contract))
        {
            // A value type is none, and would be boxed.
            if (field.Property.PropertyType.IsValueType || field.Property.Get?.Invoke(message) is not { } value) continue;
            if (value is Tensor tensor && tensor.Precision != precision)
                field.Property.Set!(message, Converted(path + field.Name, tensor, precision, arrivals));
            else if (value is IDisposable and not TensorSource
                && contract.Options.GetTypeInfo(field.Property.PropertyType) is { Kind: JsonTypeInfoKind.Object } inner)
            {
                Bring(value, inner, precision, $"{path}{field.Name}.", arrivals);
            }
        }
    }

    private static Tensor Converted(string field, Tensor tensor, Precision precision, IArrivals? arrivals)
    {
        var converted = Tensor.Rent(tensor.Shape, precision);
        try
        {
            if (precision == Precision.Float32) Round(field, tensor, converted, arrivals);
            else TensorPrimitives.ConvertTruncating<float, double>(tensor.Data, converted.Doubles);
        }
        catch
        {
            converted.Dispose();
            throw;
        }
        tensor.Dispose();
        return converted;
    }
}

/// <summary>Numbers that float32 cannot hold: refused in every form alike, in the words of what was sent.</summary>
internal static class Float32Range
{
    /// <summary>Words for a number that not even float64 can hold.</summary>
    public const string BeyondFloat64 = "beyond float64's range (±1.7976931348623157e308)";

    /// <summary>Refuses the first of some numbers that is finite and too large.</summary>
    public static void Require(string field, int first, ReadOnlySpan<double> sent, ReadOnlySpan<float> rounded)
    {
        if (rounded.IsEmpty || TensorPrimitives.IsFiniteAll(rounded)) return;
        for (var i = 0; i < sent.Length; i++)
        {
            if (float.IsInfinity(rounded[i]) && double.IsFinite(sent[i])) throw Beyond(field, first + i, Text(sent[i]));
        }
    }

    public static ProblemException Beyond(string field, int element, string sent) =>
        new(ProblemCode.NonFiniteInput, Text(field, element, sent));

    public static string Text(string field, int element, string sent) =>
        $"{field} element {element} is {sent}, beyond float32's range (±3.4028235e38); create the session with precision float64 (an " +
            $"option of /v1/normalize too)";

    private static string Text(double value) =>
        value.ToString("R", CultureInfo.InvariantCulture).Replace("E+", "e", StringComparison.Ordinal).Replace('E', 'e');
}
