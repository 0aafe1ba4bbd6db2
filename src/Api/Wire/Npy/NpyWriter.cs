using System.Globalization;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Core.Tensors;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.Npy;

/// <summary>Writes the tensor of an answer as an array, and beside it what the contract puts into headers.</summary>
internal static class NpyWriter
{
    /// <summary>Writes an answer that has a tensor.</summary>
    /// <param name="response">Where to.</param>
    /// <param name="message">The answer.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="cancellationToken">Ends writing when the client is gone.</param>
    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract, CancellationToken cancellationToken)
        where T : class
    {
        var output = response.BodyWriter;
        var header = Begin(response, message, contract);
        header.CopyTo(output.GetSpan(header.Length));
        output.Advance(header.Length);
        await TensorWriter.WriteAsync(output, TensorOf(message, contract), cancellationToken);
        await TensorWriter.FlushAsync(output, cancellationToken);
    }

    /// <summary>Sets the headers of an answer that has a tensor, its length among them.</summary>
    /// <returns>What its body begins with, before the tensor's elements.</returns>
    public static byte[] Begin<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class
    {
        SetHeaders(response, message, contract);
        var tensor = TensorOf(message, contract);
        var header = NpyHeader.Write(tensor.Shape, tensor.Precision);
        response.ContentLength = header.Length + ((long)tensor.Shape.Count * tensor.Precision.Size());
        return header;
    }

    private static TensorSource TensorOf<T>(T message, JsonTypeInfo<T> contract) =>
        (TensorSource)ContractField.Of(contract).First(field => field.IsTensor).Property.Get!(message!)!;

    private static void SetHeaders<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class
    {
        foreach (var field in ContractField.Of(contract))
        {
            if (field.HeaderName is null) continue;
            StringValues value = field.Property.Get!(message) switch
            {
                null => StringValues.Empty,
                IReadOnlyList<FindingReport> findings => string.Join(", ", findings.Select(finding => finding.Code)),
                var other => Convert.ToString(other, CultureInfo.InvariantCulture),
            };
            if (!StringValues.IsNullOrEmpty(value)) response.Headers[field.HeaderName] = value;
        }
    }
}
