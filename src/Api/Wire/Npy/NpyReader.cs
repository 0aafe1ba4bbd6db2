using System.Text.Json.Serialization.Metadata;
using BnService.Api.Errors;

namespace BnService.Api.Wire.Npy;

/// <summary>Reads a message that is one array: the tensor that it cannot do without. Options come in the query.</summary>
internal static class NpyReader
{
    /// <summary>Reads the header.</summary>
    /// <param name="bytes">The request's bytes.</param>
    /// <param name="fields">What came in the query.</param>
    /// <param name="contract">Metadata of the message's type.</param>
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
                $"npy: shape {tensor.Shape} takes {tensor.Bytes} bytes of elements, the body has {whole - bytes.Position} after the header");
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

    private static string FieldOf(JsonTypeInfo contract) => ContractField.Of(contract).First(field => field is { IsTensor: true, IsRequired: true }).Name;
}
