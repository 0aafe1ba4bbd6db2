using System.Buffers;
using System.Globalization;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Core.Tensors;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.Npy;

/// <summary>Reads a message that is one array: the tensor that it cannot do without. Options come in the query.</summary>
internal static class NpyReader
{
    /// <summary>Reads the header.</summary>
    /// <exception cref="ProblemException">It is not one, or does not agree with the body's length.</exception>
    public static async ValueTask<IncomingMessage<T>> OpenAsync<T>(RequestBytes bytes, FieldDocument fields, JsonTypeInfo<T> contract)
        where T : class
    {
        var header = await ReadHeaderAsync(bytes);
        var tensor = new IncomingTensor(FieldOf(contract), IncomingTensor.ShapeOf("shape", header.Dimensions), header.Type,
            header.IsColumnMajor, header.IsBigEndian);
        bytes.RequireAllowedBehind(tensor.Bytes);
        if (bytes.Length is { } whole && tensor.Bytes != whole - bytes.Position)
        {
            throw new ProblemException(ProblemCode.MalformedBody,
                $"npy: shape {tensor.Shape} takes {tensor.Bytes} bytes of elements, the body has {whole - bytes.Position} after the " +
                    $"header");
        }
        return new(contract, bytes, fields, [tensor]);
    }

    private static async ValueTask<NpyHeader> ReadHeaderAsync(RequestBytes bytes)
    {
        int size, length;
        using (var prefix = await bytes.ReadBufferAsync(NpyHeader.PrefixLength, "the header")) size = NpyHeader.LengthSize(prefix.Bytes);
        using (var announced = await bytes.ReadBufferAsync(size, "the header")) length = NpyHeader.TextLength(announced.Bytes);
        using var text = await bytes.ReadBufferAsync(length, "the header");
        return NpyHeader.Parse(text.Bytes);
    }

    private static string FieldOf(JsonTypeInfo contract) =>
        ContractField.Of(contract).First(field => field is { IsTensor: true, IsRequired: true }).Name;
}

/// <summary>Writes the tensor of an answer as an array, and what the contract puts into headers.</summary>
internal static class NpyWriter
{
    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract, CancellationToken cancellationToken)
        where T : class
    {
        var output = response.BodyWriter;
        output.Write(Begin(response, message, contract));
        var tensor = TensorOf(message, contract);
        await TensorWriter.WriteAsync(output, tensor, ElementTypes.Of(tensor.Precision), cancellationToken);
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
