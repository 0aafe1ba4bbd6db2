using System.Globalization;
using BnService.Api.Hosting.Problems;
using BnService.Core.Tensors;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.OpenInference;

/// <summary>An infer request whose input may still be on its way behind the JSON.</summary>
internal sealed class InferRequest : IDisposable
{
    private readonly RequestBytes _bytes;
    private Tensor? _x;

    private InferRequest(InferHeader header, RequestBytes bytes) => (Header, _bytes) = (header, bytes);

    /// <summary>What it says of itself and of its answer.</summary>
    public InferHeader Header { get; }

    /// <summary>The input, where its bytes are still to come and are nothing but what is left of the body; null otherwise.</summary>
    public IncomingTensor? Incoming => _x is null && Header.Data is null && _bytes.Length is not null
        ? new IncomingTensor(InferText.Input, Header.Shape, Header.Datatype) : null;

    /// <summary>Reads as much of a request as says what its input is.</summary>
    /// <param name="bytes">Its body, decoded.</param>
    /// <param name="lengthHeader">Its header <see cref="InferText.LengthHeader"/>: the bytes of the JSON. Where there is none the whole body is JSON, at 0 the single input's bytes.</param>
    /// <param name="row">Dimensions of a row, for a body that does not say.</param>
    /// <param name="precision">What the model computes in.</param>
    /// <exception cref="Hosting.Problems.ProblemException">It is not what the protocol asks for.</exception>
    public static async ValueTask<InferRequest> OpenAsync(RequestBytes bytes, StringValues lengthHeader, IReadOnlyList<int> row, Precision precision)
    {
        bytes.RequireAllowedLength();
        if (lengthHeader.Count == 0)
        {
            using var whole = await bytes.ReadBufferAsync(null, "it");
            return new InferRequest(InferHeader.Read(whole.Bytes, false, 0, precision), bytes);
        }
        var length = JsonLength(lengthHeader, bytes.MostLeft);
        if (length == 0) return await OpenRawAsync(bytes, row, precision);
        using var json = await bytes.ReadBufferAsync(length, $"the JSON ({InferText.LengthHeader})");
        return new InferRequest(InferHeader.Read(json.Bytes, true, bytes.Length - length, precision), bytes);
    }

    /// <summary>The input, once it is there; this request's to give back.</summary>
    public async ValueTask<Tensor> ReadAsync()
    {
        if (_x is not null) return _x;
        if (Header.Data is { } data)
        {
            await _bytes.RequireEndAsync();
            return _x = data.ToTensor(InferText.Input, Header.Shape, Header.Datatype);
        }
        _bytes.RequireAllowedBehind(Header.TensorBytes);
        _x = Tensor.Rent(Header.Shape, Header.Precision);
        await _bytes.ReadAsync(Header.TensorBytes, new TensorFill(Header.Datatype, _x, InferText.Input, null), $"input '{InferText.Input}'");
        await _bytes.RequireEndAsync();
        return _x;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Header.Dispose();
        _x?.Dispose();
    }

    // The shape follows from the body's length, which a request need not say.
    private static async ValueTask<InferRequest> OpenRawAsync(RequestBytes bytes, IReadOnlyList<int> row, Precision precision)
    {
        if (bytes.Length is { } length) return new InferRequest(InferHeader.OfRaw(row, length, precision), bytes);
        using var whole = await bytes.ReadBufferAsync(null, "it");
        var header = InferHeader.OfRaw(row, whole.Length, precision);
        var x = Tensor.Rent(header.Shape, precision);
        // Of the same type as the tensor, byte by byte.
        if (precision == Precision.Float64) header.Datatype.ToDoubles(whole.Bytes, x.Doubles);
        else header.Datatype.ToSingles(whole.Bytes, x.Data);
        return new InferRequest(header, bytes) { _x = x };
    }

    private static int JsonLength(StringValues header, long bodyBytes)
    {
        if (int.TryParse(header.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var length) && length <= bodyBytes) return length;
        throw InferText.Refused(
            $"{InferText.LengthHeader} must be the JSON's bytes, a whole number from 0 to the body's {bodyBytes}, got '{Excerpt.Of(header.ToString(), 40)}'");
    }
}
