using System.Globalization;
using BnService.Api.Errors;
using BnService.Core.Tensors;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.OpenInference;

/// <summary>An infer request whose input may still follow the JSON.</summary>
internal sealed class InferRequest : IDisposable
{
    private readonly RequestBytes _bytes;
    private BodyBuffer? _text;
    private bool _hasLength;
    private Tensor? _x;

    private InferRequest(InferHeader header, RequestBytes bytes) => (Header, _bytes) = (header, bytes);

    public InferHeader Header { get; }

    /// <summary>The input, where its bytes are still to come; null otherwise.</summary>
    public IncomingTensor? Incoming => _x is null && Header.Data is null
        ? new IncomingTensor(InferText.Input, Header.Shape, Header.Datatype) : null;

    /// <summary>Reads as much of a request as says what its input is.</summary>
    /// <param name="lengthHeader">Its header <see cref="InferText.LengthHeader"/>: the bytes of the JSON. Where there is none the whole
    /// body is JSON, at 0 the single input's bytes.</param>
    /// <exception cref="Errors.ProblemException">It is not what the protocol asks for.</exception>
    public static async ValueTask<InferRequest> OpenAsync(
        RequestBytes bytes, StringValues lengthHeader, IReadOnlyList<int> row, Precision precision)
    {
        bytes.RequireAllowedLength();
        if (lengthHeader.Count == 0)
        {
            return Kept(await bytes.ReadBufferAsync(null, "it"), false, 0, bytes, precision);
        }
        var length = JsonLength(lengthHeader, bytes.MostLeft);
        if (length == 0) return await OpenRawAsync(bytes, row, precision);
        return Kept(await bytes.ReadBufferAsync(length, $"the JSON ({InferText.LengthHeader})"), true, bytes.Length - length, bytes,
            precision);
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
        await _bytes.ReadAsync(Header.TensorBytes, new TensorFill(Header.Datatype, _x, InferText.Input, arrivals),
            $"input '{InferText.Input}'");
        await _bytes.RequireEndAsync();
        return _x;
    }

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
        if (int.TryParse(header.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var length) && length <= bodyBytes)
            return length;
        throw InferText.Refused(
            $"{InferText.LengthHeader} must be the JSON's bytes, a whole number from 0 to the body's {bodyBytes}, got " +
                $"'{Excerpt.Of(header.ToString(), 40)}'");
    }
}

/// <summary>
/// What the JSON of an infer request says: which tensor it holds or which follows it, and how the answer is to be. The bytes of a
/// tensor that follows are not its business.
/// </summary>
internal sealed class InferHeader : IDisposable
{
    /// <summary>Identifier of the request, which the answer repeats; null for none.</summary>
    public string? Id { get; init; }

    public required Shape Shape { get; init; }

    public required ElementType Datatype { get; init; }

    public required Precision Precision { get; init; }

    /// <summary>
    /// Type of the output's elements: FP64 of a model in that; else the input's, or FP32 where those are whole numbers or truth values.
    /// </summary>
    public ElementType OutputDatatype => Precision == Precision.Float64 ? ElementType.F64 : Datatype.IsFloat() ? Datatype : ElementType.F32;

    /// <summary>The input's elements where the JSON holds them; null where they follow it.</summary>
    public InferData? Data { get; init; }

    /// <summary>Whether the output is to follow the answer's JSON.</summary>
    public required bool IsOutputBinary { get; init; }

    /// <summary>Bytes of the tensor that follows the JSON.</summary>
    public long TensorBytes => Data is null ? (long)Shape.Count * Datatype.Size() : 0;

    /// <summary>Reads a request's JSON.</summary>
    /// <param name="hasLength">Whether a header says how long it is, because tensors may follow it; else it is the whole body.</param>
    /// <param name="tensorBytes">Number of bytes after it; null if the request does not say.</param>
    /// <exception cref="Errors.ProblemException">It is not what the protocol asks for, or the bytes are not what it
    /// announces.</exception>
    public static InferHeader Read(ReadOnlySpan<byte> json, bool hasLength, long? tensorBytes, Precision precision)
    {
        var header = InferHeaderReader.Read(json, hasLength, precision);
        if (tensorBytes is null || header.TensorBytes == tensorBytes) return header;
        header.Dispose();
        throw InferText.Refused(
            $"{tensorBytes} bytes follow the JSON ({InferText.LengthHeader}), its inputs announce {header.TensorBytes}");
    }

    /// <summary>The header that a request without JSON stands for: rows of what the model computes in, and a binary answer.</summary>
    public static InferHeader OfRaw(IReadOnlyList<int> row, long tensorBytes, Precision precision)
    {
        var rowBytes = row.Aggregate((long)precision.Size(), (product, dimension) => product * dimension);
        if (tensorBytes % rowBytes != 0)
        {
            throw InferText.Refused($"a body without JSON ({InferText.LengthHeader}: 0) is {Datatypes.Described(precision)} of shape " +
                $"[-1, {string.Join(", ", row)}], {rowBytes} bytes a row; {tensorBytes} bytes are no whole number of rows");
        }
        return new InferHeader
        {
            Shape = new Shape([(int)(tensorBytes / rowBytes), .. row]),
            Datatype = precision == Precision.Float64 ? ElementType.F64 : ElementType.F32,
            Precision = precision,
            IsOutputBinary = true,
        };
    }

    public void Dispose() => Data?.Dispose();
}
