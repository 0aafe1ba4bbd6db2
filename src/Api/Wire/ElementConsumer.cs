using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>Takes the elements of a tensor as they arrive; one that was cut in two on the road is put together again.</summary>
/// <param name="isBigEndian">Whether their first byte is the most significant one.</param>
internal abstract class ElementConsumer(ElementType type, bool isBigEndian) : IByteConsumer
{
    private const int SwappedBytes = 4096;

    private readonly int _size = type.Size();
    private readonly byte[] _cut = new byte[sizeof(double)];
    private int _cutLength;

    protected ElementType Type => type;

    public void Take(ReadOnlySpan<byte> bytes)
    {
        if (_cutLength > 0)
        {
            var rest = Math.Min(_size - _cutLength, bytes.Length);
            bytes[..rest].CopyTo(_cut.AsSpan(_cutLength));
            _cutLength += rest;
            bytes = bytes[rest..];
            if (_cutLength < _size) return;
            TakeInOrder(_cut.AsSpan(0, _size));
            _cutLength = 0;
        }
        var whole = bytes.Length - (bytes.Length % _size);
        if (whole > 0) TakeInOrder(bytes[..whole]);
        bytes[whole..].CopyTo(_cut);
        _cutLength = bytes.Length - whole;
    }

    public virtual ValueTask TakenAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public virtual ValueTask WaitingAsync(Task arrival, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>Takes whole elements, little-endian, which lie at any address.</summary>
    protected abstract void TakeWhole(ReadOnlySpan<byte> elements);

    private void TakeInOrder(ReadOnlySpan<byte> elements)
    {
        if (!isBigEndian || _size == 1)
        {
            TakeWhole(elements);
            return;
        }
        Span<byte> swapped = stackalloc byte[SwappedBytes];
        while (!elements.IsEmpty)
        {
            var count = Math.Min(elements.Length, SwappedBytes);
            Swap(elements[..count], swapped);
            TakeWhole(swapped[..count]);
            elements = elements[count..];
        }
    }

    private void Swap(ReadOnlySpan<byte> from, Span<byte> to)
    {
        switch (_size)
        {
            case sizeof(ulong):
                BinaryPrimitives.ReverseEndianness(MemoryMarshal.Cast<byte, ulong>(from), MemoryMarshal.Cast<byte, ulong>(to));
                break;
            case sizeof(uint):
                BinaryPrimitives.ReverseEndianness(MemoryMarshal.Cast<byte, uint>(from), MemoryMarshal.Cast<byte, uint>(to));
                break;
            default:
                BinaryPrimitives.ReverseEndianness(MemoryMarshal.Cast<byte, ushort>(from), MemoryMarshal.Cast<byte, ushort>(to));
                break;
        }
    }
}

/// <summary>Puts elements into a tensor, in its precision.</summary>
/// <param name="tensor">The tensor, which stays the caller's.</param>
/// <param name="arrivals">Told what has arrived, or null.</param>
/// <param name="isBigEndian">Whether the first byte of an element is the most significant one.</param>
internal sealed class TensorFill(ElementType type, Tensor tensor, string field, IArrivals? arrivals, bool isBigEndian = false)
    : ElementConsumer(type, isBigEndian)
{
    private const int WatchedElements = 512;

    private int _count;

    public override ValueTask TakenAsync(CancellationToken cancellationToken)
    {
        arrivals?.Arrived(field, _count);
        return ValueTask.CompletedTask;
    }

    protected override void TakeWhole(ReadOnlySpan<byte> elements)
    {
        var count = elements.Length / Type.Size();
        if (tensor.Precision == Precision.Float64) Type.ToDoubles(elements, tensor.Doubles.Slice(_count, count));
        else if (Type.IsWiderThanSingle()) Round(elements, tensor.Data.Slice(_count, count));
        else Type.ToSingles(elements, tensor.Data.Slice(_count, count));
        _count += count;
    }

    // Whole numbers that not even a double holds (nanoseconds since 1970) are watched as what has their bits: as different as they are, and
    // no float32 either.
    private static void KeepApart(ReadOnlySpan<byte> elements, Span<double> sent)
    {
        const long lost = (1 << 11) - 1, kept = (1L << 62) - 1; // 64 bits less the 53 of a double; what is no NaN
        var numbers = MemoryMarshal.Cast<byte, long>(elements);
        for (var i = 0; i < numbers.Length; i++)
        {
            if (Math.Abs(sent[i]) > 1L << 53 && (numbers[i] & lost) != 0) sent[i] = BitConverter.Int64BitsToDouble(numbers[i] & kept);
        }
    }

    private void Round(ReadOnlySpan<byte> elements, Span<float> values)
    {
        Type.ToSingles(elements, values);
        if (Type != ElementType.F64 && arrivals is null) return;
        Span<double> sent = stackalloc double[WatchedElements];
        for (int done = 0, count; done < values.Length; done += count)
        {
            count = Math.Min(WatchedElements, values.Length - done);
            Type.ToDoubles(elements.Slice(done * Type.Size(), count * Type.Size()), sent[..count]);
            if (Type == ElementType.F64) Float32Range.Require(field, _count + done, sent[..count], values.Slice(done, count));
            else if (Type is ElementType.I64 or ElementType.U64)
                KeepApart(elements.Slice(done * sizeof(ulong), count * sizeof(ulong)), sent);
            arrivals?.Rounded(field, sent[..count]);
        }
    }
}

/// <summary>Watches the tensors of a message while they arrive.</summary>
internal interface IArrivals
{
    /// <summary>A tensor is about to arrive, in this memory.</summary>
    /// <param name="tensor">Its memory, which is whole when the message is.</param>
    /// <exception cref="Core.LayerException">It does not fit; the message is refused.</exception>
    void Begin(string field, Tensor tensor);

    /// <summary>Elements have arrived.</summary>
    void Arrived(string field, int count);

    /// <summary>Elements that may have more digits than float32 holds have been rounded to it.</summary>
    void Rounded(string field, ReadOnlySpan<double> sent);
}

/// <summary>Tensors whose first dimension is the innermost one, as Fortran keeps them.</summary>
internal static class ColumnMajor
{
    private const int Tile = 32;

    public static void ToRowMajor<T>(Shape shape, ReadOnlySpan<T> source, Span<T> target)
    {
        if (shape.Rank < 2 || shape.Count == 0)
        {
            source.CopyTo(target);
            return;
        }
        // For each place in the dimensions between them the first and the last one are transposed, in tiles that the caches hold.
        var (rows, columns) = (shape[0], shape[-1]);
        var (sourceColumn, targetRow) = (shape.Count / columns, shape.Count / rows);
        var place = new int[shape.Rank];
        do
        {
            var (from, to) = (0, 0);
            var stride = rows;
            for (var axis = 1; axis < shape.Rank - 1; axis++)
            {
                from += place[axis] * stride;
                stride *= shape[axis];
            }
            stride = columns;
            for (var axis = shape.Rank - 2; axis > 0; axis--)
            {
                to += place[axis] * stride;
                stride *= shape[axis];
            }
            for (var row = 0; row < rows; row += Tile)
            {
                for (var column = 0; column < columns; column += Tile)
                {
                    var (lastRow, lastColumn) = (Math.Min(rows, row + Tile), Math.Min(columns, column + Tile));
                    for (var r = row; r < lastRow; r++)
                    {
                        for (var c = column; c < lastColumn; c++) target[to + (r * targetRow) + c] = source[from + (c * sourceColumn) + r];
                    }
                }
            }
        }
        while (Next(place, shape));
    }

    private static bool Next(int[] place, Shape shape)
    {
        for (var axis = shape.Rank - 2; axis > 0; axis--)
        {
            if (++place[axis] < shape[axis]) return true;
            place[axis] = 0;
        }
        return false;
    }
}
