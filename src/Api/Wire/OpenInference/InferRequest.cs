using System.Globalization;
using BnService.Api.Errors;
using BnService.Core.Tensors;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.OpenInference;

/// <summary>An infer request whose input may still be on its way behind the JSON.</summary>
internal sealed class InferRequest : IDisposable
{
    private readonly RequestBytes _bytes;
    private BodyBuffer? _text;
    private bool _hasLength;
    private Tensor? _x;

    private InferRequest(InferHeader header, RequestBytes bytes) => (Header, _bytes) = (header, bytes);

    /// <summary>What it says of itself and of its answer.</summary>
    public InferHeader Header { get; }

    /// <summary>The input, where its bytes are still to come; null otherwise.</summary>
    public IncomingTensor? Incoming => _x is null && Header.Data is null
        ? new IncomingTensor(InferText.Input, Header.Shape, Header.Datatype) : null;

    /// <summary>Reads as much of a request as says what its input is.</summary>
    /// <param name="bytes">Its body, decoded.</param>
    /// <param name="lengthHeader">Its header <see cref="InferText.LengthHeader"/>: the bytes of the JSON. Where there is none the whole body is JSON, at 0 the single input's bytes.</param>
    /// <param name="row">Dimensions of a row, for a body that does not say.</param>
    /// <param name="precision">What the model computes in.</param>
    /// <exception cref="Errors.ProblemException">It is not what the protocol asks for.</exception>
    public static async ValueTask<InferRequest> OpenAsync(RequestBytes bytes, StringValues lengthHeader, IReadOnlyList<int> row, Precision precision)
    {
        bytes.RequireAllowedLength();
        if (lengthHeader.Count == 0)
        {
            return Kept(await bytes.ReadBufferAsync(null, "it"), false, 0, bytes, precision);
        }
        var length = JsonLength(lengthHeader, bytes.MostLeft);
        if (length == 0) return await OpenRawAsync(bytes, row, precision);
        return Kept(await bytes.ReadBufferAsync(length, $"the JSON ({InferText.LengthHeader})"), true, bytes.Length - length, bytes, precision);
    }

    // Text is kept where it may have to be read again.
    private static InferRequest Kept(BodyBuffer json, bool hasLength, long? tensorBytes, RequestBytes bytes, Precision precision)
    {
        var isKept = false;
        try
        {
            var request = new InferRequest(InferHeader.Read(json.Bytes, hasLength, tensorBytes, precision), bytes);
            if (request.Header.Data is null) bytes.RequireAllowedBehind(request.Header.TensorBytes);
            isKept = request is { MayBeRounded: true, Header.Data: not null };
            if (isKept) (request._text, request._hasLength) = (json, hasLength);
            return request;
        }
        finally
        {
            if (!isKept) json.Dispose();
        }
    }

    /// <summary>Whether the input may have digits that float32 has not, where the model computes in that.</summary>
    public bool MayBeRounded => Header.Precision == Precision.Float32 && Header.Datatype.IsWiderThanSingle();

    /// <summary>Shows the input as it was sent, in float64, where it is a part of the JSON.</summary>
    public void ShowAgain(Action<Tensor> look)
    {
        if (_text is null) return;
        using var again = InferHeader.Read(_text.Bytes, _hasLength, null, Precision.Float64);
        if (again.Data is not { } data) return;
        using var sent = data.ToTensor(InferText.Input, again.Shape, again.Datatype);
        look(sent);
    }

    /// <summary>The input, once it is there; this request's to give back.</summary>
    /// <param name="arrivals">Told of it as it arrives, or null.</param>
    public async ValueTask<Tensor> ReadAsync(IArrivals? arrivals)
    {
        if (_x is not null) return _x;
        if (Header.Data is { } data)
        {
            await _bytes.RequireEndAsync();
            return _x = data.ToTensor(InferText.Input, Header.Shape, Header.Datatype);
        }
        _x = Tensor.Rent(Header.Shape, Header.Precision);
        arrivals?.Begin(InferText.Input, _x);
        await _bytes.ReadAsync(Header.TensorBytes, new TensorFill(Header.Datatype, _x, InferText.Input, arrivals), $"input '{InferText.Input}'");
        await _bytes.RequireEndAsync();
        return _x;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Header.Dispose();
        _x?.Dispose();
        _text?.Dispose();
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
