using BnService.Core.Tensors;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.OpenInference;

/// <summary>An infer request with its input in pooled memory.</summary>
/// <param name="header">What it says; taken over.</param>
/// <param name="x">The input; taken over.</param>
internal sealed class InferRequest(InferHeader header, Tensor x) : IDisposable
{
    /// <summary>What it says of itself and of its answer.</summary>
    public InferHeader Header => header;

    /// <summary>The input.</summary>
    public Tensor X => x;

    /// <summary>Reads a whole request.</summary>
    /// <param name="body">Its decoded body.</param>
    /// <param name="lengthHeader">Its header <see cref="InferText.LengthHeader"/>.</param>
    /// <param name="row">Dimensions of a row, for a body that does not say.</param>
    public static InferRequest Read(ReadOnlySpan<byte> body, StringValues lengthHeader, IReadOnlyList<int> row)
    {
        var framing = InferFraming.Read(lengthHeader, body.Length);
        var isRaw = lengthHeader.Count > 0 && framing.JsonBytes == 0;
        var header = isRaw ? InferHeader.OfRaw(row, framing.TensorBytes) : InferHeader.Read(body[..framing.JsonBytes], framing.TensorBytes);
        try
        {
            return new InferRequest(header, header.Data?.ToTensor(InferText.Input, header.Shape) ?? FromBytes(header, body[framing.JsonBytes..]));
        }
        catch
        {
            header.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        header.Dispose();
        x.Dispose();
    }

    private static Tensor FromBytes(InferHeader header, ReadOnlySpan<byte> bytes)
    {
        var x = Tensor.Rent(header.Shape);
        header.Datatype.ToSingles(bytes, x.Data);
        return x;
    }
}
