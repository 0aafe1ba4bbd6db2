namespace BnService.Core.Tensors;

/// <summary>A float32 tensor, row-major, in pooled memory. One owner disposes it.</summary>
public sealed class Tensor : TensorSource
{
    private readonly NativeBuffer _buffer;

    /// <summary>Takes over <paramref name="buffer"/>, whose first elements are the tensor's.</summary>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="buffer">At least 4 · <see cref="Shape.Count"/> bytes.</param>
    public Tensor(Shape shape, NativeBuffer buffer)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(buffer);
        ArgumentOutOfRangeException.ThrowIfLessThan(buffer.Length, (long)shape.Count * sizeof(float), nameof(buffer));
        Shape = shape;
        _buffer = buffer;
    }

    /// <inheritdoc/>
    public override Shape Shape { get; }

    /// <summary>The elements in row-major order.</summary>
    /// <exception cref="ObjectDisposedException">The tensor was disposed.</exception>
    public Span<float> Data => _buffer.Span<float>(Shape.Count);

    /// <summary>The first element; the memory does not move.</summary>
    internal unsafe float* Pointer => (float*)_buffer.Pointer;

    /// <summary>Bytes of memory that the tensor holds, which is more than its elements need.</summary>
    public long AllocatedBytes => _buffer.Length;

    /// <summary>A tensor of the given shape with undefined contents.</summary>
    public static Tensor Rent(Shape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return new Tensor(shape, NativeBuffer.Rent((long)shape.Count * sizeof(float)));
    }

    /// <inheritdoc/>
    public override void CopyTo(int start, Span<float> values) => Data.Slice(start, values.Length).CopyTo(values);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _buffer.Dispose();
}
