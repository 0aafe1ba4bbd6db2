using System.Text.Json.Serialization.Metadata;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Wire;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>How large the tensors of a request may be. Of binary forms it is known before their elements are read.</summary>
internal static class TensorLimits
{
    /// <summary>Refuses a tensor that is too large.</summary>
    /// <param name="limits">What is allowed.</param>
    /// <param name="field">The tensor's name.</param>
    /// <param name="shape">Its shape.</param>
    /// <exception cref="ProblemException">It is.</exception>
    public static void Require(LimitOptions limits, string field, Shape shape)
    {
        if (shape.Count > limits.MaxElements)
            throw new ProblemException(ProblemCode.LimitReached, $"{field} has at most {limits.MaxElements} elements (Limits:MaxElements), got {shape.Count} in shape {shape}");
        // More dimensions than any layer has are not the operator's to allow, and refused where layers are known.
        if (limits.MaxRank < Layout.MaxRank && shape.Rank > limits.MaxRank)
            throw new ProblemException(ProblemCode.LimitReached, $"{field} has at most {limits.MaxRank} dimensions (Limits:MaxRank), got {shape.Rank} in shape {shape}");
    }

    /// <summary>Refuses a message with a tensor that is too large.</summary>
    /// <param name="limits">What is allowed.</param>
    /// <param name="message">The message.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="path">Where it lies, with a dot behind.</param>
    /// <exception cref="ProblemException">One is.</exception>
    public static void RequireAll(LimitOptions limits, object message, JsonTypeInfo contract, string path)
    {
        foreach (var field in ContractField.Of(contract))
        {
            if (field.Property.Get is not { } get || get(message) is not { } value) continue;
            if (value is Tensor tensor) Require(limits, path + field.Name, tensor.Shape);
            else if (value is IDisposable && contract.Options.GetTypeInfo(field.Property.PropertyType) is { Kind: JsonTypeInfoKind.Object } inner)
                RequireAll(limits, value, inner, $"{path}{field.Name}.");
        }
    }
}
