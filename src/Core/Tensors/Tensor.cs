using System.Diagnostics.CodeAnalysis;

namespace BnService.Core.Tensors;

/// <summary>A tensor of float32 or float64, row-major, in pooled memory. One owner disposes it.</summary>
public sealed class Tensor : TensorSource
{
    private readonly NativeBuffer _buffer;

    /// <summary>Takes over <paramref name="buffer"/>, whose first elements are the tensor's.</summary>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="buffer">At least as many bytes as the elements need.</param>
    /// <param name="precision">Type of the elements.</param>
    public Tensor(Shape shape, NativeBuffer buffer, Precision precision = Precision.Float32)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(buffer);
        ArgumentOutOfRangeException.ThrowIfLessThan(buffer.Length, (long)shape.Count * precision.Size(), nameof(buffer));
        (Shape, _buffer, Precision) = (shape, buffer, precision);
    }

    /// <inheritdoc/>
    public override Shape Shape { get; }

    /// <inheritdoc/>
    public override Precision Precision { get; }

    /// <summary>The elements of a float32 tensor in row-major order.</summary>
    /// <exception cref="ObjectDisposedException">The tensor was disposed.</exception>
    /// <exception cref="InvalidOperationException">It is a float64 tensor.</exception>
    public Span<float> Data
    {
        get
        {
            Require(Precision.Float32);
            return _buffer.Span<float>(Shape.Count);
        }
    }

    /// <summary>The elements of a float64 tensor in row-major order.</summary>
    /// <exception cref="ObjectDisposedException">The tensor was disposed.</exception>
    /// <exception cref="InvalidOperationException">It is a float32 tensor.</exception>
    public Span<double> Doubles
    {
        get
        {
            Require(Precision.Float64);
            return _buffer.Span<double>(Shape.Count);
        }
    }

    /// <summary>The first element of a float32 tensor; the memory does not move.</summary>
    internal unsafe float* Pointer
    {
        get
        {
            Require(Precision.Float32);
            return (float*)_buffer.Pointer;
        }
    }

    /// <summary>Bytes of memory that the tensor holds, which is more than its elements need.</summary>
    public long AllocatedBytes => _buffer.Length;

    /// <summary>A tensor of the given shape with undefined contents.</summary>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="precision">Type of its elements.</param>
    public static Tensor Rent(Shape shape, Precision precision = Precision.Float32)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return new Tensor(shape, NativeBuffer.Rent((long)shape.Count * precision.Size()), precision);
    }

    /// <inheritdoc/>
    public override void CopyTo(int start, Span<float> values) => Data.Slice(start, values.Length).CopyTo(values);

    /// <inheritdoc/>
    public override void CopyTo(int start, Span<double> values) => Doubles.Slice(start, values.Length).CopyTo(values);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _buffer.Dispose();

    private void Require(Precision precision)
    {
        if (Precision != precision) throw new InvalidOperationException($"expected a tensor of {precision}, got one of {Precision}");
    }
}

/// <summary>The type of a tensor's elements, and of what is computed with them.</summary>
[SuppressMessage("Naming", "CA1720", Justification = "these are the names of the contract, and of every framework")]
public enum Precision
{
    /// <summary>IEEE 754 binary32: 24 bits, magnitudes up to 3.4028235e38. Sums and statistics are kept in double nevertheless.</summary>
    Float32,

    /// <summary>IEEE 754 binary64: 53 bits, magnitudes up to 1.8e308.</summary>
    Float64,
}

/// <summary>What is known of a precision.</summary>
public static class Precisions
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this Precision precision) => precision == Precision.Float64 ? sizeof(double) : sizeof(float);
}

/// <summary>A tensor of float32 or float64, row-major, whose elements lie in memory or are computed when they are asked for.</summary>
public abstract class TensorSource : IDisposable
{
    /// <summary>The dimensions.</summary>
    public abstract Shape Shape { get; }

    /// <summary>Type of the elements.</summary>
    public virtual Precision Precision => Precision.Float32;

    /// <summary>Writes a stretch of the elements of a float32 tensor.</summary>
    /// <param name="start">The first one.</param>
    /// <param name="values">Receives as many as it has room for; at any address.</param>
    /// <exception cref="ArgumentException">The stretch does not lie in the tensor.</exception>
    public abstract void CopyTo(int start, Span<float> values);

    /// <summary>Writes a stretch of the elements of a float64 tensor.</summary>
    /// <param name="start">The first one.</param>
    /// <param name="values">Receives as many as it has room for; at any address.</param>
    /// <exception cref="ArgumentException">The stretch does not lie in the tensor.</exception>
    public virtual void CopyTo(int start, Span<double> values) => throw new InvalidOperationException("the elements are float32");

    /// <summary>Gives back what the elements lie in or are computed from.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives back what the elements lie in or are computed from.</summary>
    /// <param name="disposing">Always true: there are no finalizers.</param>
    protected abstract void Dispose(bool disposing);
}
