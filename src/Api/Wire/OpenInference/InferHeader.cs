using BnService.Core.Tensors;

namespace BnService.Api.Wire.OpenInference;

/// <summary>
/// What the JSON of an infer request says: which tensor it holds or which follows it, and how the answer is to be. The bytes of a
/// tensor that follows are not its business.
/// </summary>
internal sealed class InferHeader : IDisposable
{
    /// <summary>Identifier of the request, which the answer repeats; null for none.</summary>
    public string? Id { get; init; }

    /// <summary>Shape of the input.</summary>
    public required Shape Shape { get; init; }

    /// <summary>Type of the input's elements.</summary>
    public required ElementType Datatype { get; init; }

    /// <summary>What the model computes in.</summary>
    public required Precision Precision { get; init; }

    /// <summary>Type of the output's elements: FP64 of a model in that; else the input's, or FP32 where those are whole numbers or truth values.</summary>
    public ElementType OutputDatatype => Precision == Precision.Float64 ? ElementType.F64 : Datatype.IsFloat() ? Datatype : ElementType.F32;

    /// <summary>The input's elements where the JSON holds them; null where they follow it.</summary>
    public InferData? Data { get; init; }

    /// <summary>Whether the output is to follow the answer's JSON.</summary>
    public required bool IsOutputBinary { get; init; }

    /// <summary>Bytes of the tensor that follows the JSON.</summary>
    public long TensorBytes => Data is null ? (long)Shape.Count * Datatype.Size() : 0;

    /// <summary>Reads a request's JSON.</summary>
    /// <param name="json">The JSON.</param>
    /// <param name="hasLength">Whether a header says how long it is, because tensors may follow it; else it is the whole body.</param>
    /// <param name="tensorBytes">Number of bytes behind it; null where the request does not say.</param>
    /// <param name="precision">What the model computes in.</param>
    /// <exception cref="Errors.ProblemException">It is not what the protocol asks for, or the bytes are not what it announces.</exception>
    public static InferHeader Read(ReadOnlySpan<byte> json, bool hasLength, long? tensorBytes, Precision precision)
    {
        var header = InferHeaderReader.Read(json, hasLength, precision);
        if (tensorBytes is null || header.TensorBytes == tensorBytes) return header;
        header.Dispose();
        throw InferText.Refused($"{tensorBytes} bytes follow the JSON ({InferText.LengthHeader}), its inputs announce {header.TensorBytes}");
    }

    /// <summary>The header that a request without JSON stands for: rows of what the model computes in, and a binary answer.</summary>
    /// <param name="row">Dimensions of a row.</param>
    /// <param name="tensorBytes">Bytes of the body.</param>
    /// <param name="precision">What the model computes in.</param>
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

    /// <inheritdoc/>
    public void Dispose() => Data?.Dispose();
}
