using System.Numerics.Tensors;
using System.Text.Json.Serialization.Metadata;
using BnService.Core.Tensors;
using Tensor = BnService.Core.Tensors.Tensor;

namespace BnService.Api.Wire;

/// <summary>Brings tensors to the precision that they are computed in.</summary>
internal static class TensorRounding
{
    /// <summary>Rounds float64 to float32.</summary>
    /// <param name="field">The tensor's name.</param>
    /// <param name="sent">The tensor.</param>
    /// <param name="rounded">Receives its elements.</param>
    /// <param name="arrivals">Told of the tensor and of what was rounded, or null.</param>
    /// <exception cref="Errors.ProblemException">An element is beyond float32's range.</exception>
    private static void Round(string field, Tensor sent, Tensor rounded, IArrivals? arrivals)
    {
        TensorPrimitives.ConvertTruncating<double, float>(sent.Doubles, rounded.Data);
        Float32Range.Require(field, 0, sent.Doubles, rounded.Data);
        arrivals?.Begin(field, rounded);
        arrivals?.Rounded(field, sent.Doubles);
        arrivals?.Arrived(field, rounded.Shape.Count);
    }

    /// <summary>Brings every tensor of a message to a precision; those that have another one are exchanged.</summary>
    /// <param name="message">The message.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="precision">The precision.</param>
    /// <param name="path">Where the object lies, with a dot behind.</param>
    /// <param name="arrivals">Told of what is rounded, or null.</param>
    /// <exception cref="Errors.ProblemException">An element is beyond float32's range.</exception>
    public static void Bring(object message, JsonTypeInfo contract, Precision precision, string path = "", IArrivals? arrivals = null)
    {
        foreach (var field in ContractField.Of(contract))
        {
            // A value type is none, and would be boxed.
            if (field.Property.PropertyType.IsValueType || field.Property.Get?.Invoke(message) is not { } value) continue;
            if (value is Tensor tensor && tensor.Precision != precision) field.Property.Set!(message, Converted(path + field.Name, tensor, precision, arrivals));
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
