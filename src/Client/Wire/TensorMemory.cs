using System.Buffers;

namespace BnService.Client.Wire;

/// <summary>The memory of a tensor that was answered: the caller's own, or rented until it is disposed.</summary>
internal sealed class TensorMemory : IDisposable
{
    private float[]? _rented;
    private readonly double[]? _doubles;
    private bool _isGone;

    private TensorMemory(Memory<float> values, float[]? rented, int[] shape) => (Writable, _rented, Shape) = (values, rented, shape);

    private TensorMemory(double[] doubles, int[] shape) => (_doubles, Shape) = (doubles, shape);

    /// <summary>Its dimensions, outermost first.</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>Its elements, to be filled.</summary>
    public Memory<float> Writable { get; }

    /// <summary>Its elements.</summary>
    /// <exception cref="ObjectDisposedException">They were given back.</exception>
    public ReadOnlyMemory<float> Values
    {
        get
        {
            ObjectDisposedException.ThrowIf(_isGone, typeof(TensorMemory));
            return _doubles is null ? Writable : throw new InvalidOperationException("the session computes in float64: take the property that ends in Float64");
        }
    }

    /// <summary>Its elements as float64, whatever they were answered as.</summary>
    public ReadOnlyMemory<double> Doubles => _doubles ?? Array.ConvertAll(Values.ToArray(), value => (double)value);

    /// <summary>A float64 tensor.</summary>
    public static TensorMemory Of(double[] values, int[] shape) => new(values, shape);

    /// <summary>A tensor in the caller's memory.</summary>
    public static TensorMemory Of(Memory<float> values, int[] shape) => new(values, null, shape);

    /// <summary>A tensor in memory that is rented.</summary>
    public static TensorMemory Rent(int count, int[] shape)
    {
        var rented = ArrayPool<float>.Shared.Rent(count);
        return new TensorMemory(rented.AsMemory(0, count), rented, shape);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _isGone = true;
        if (Interlocked.Exchange(ref _rented, null) is { } rented) ArrayPool<float>.Shared.Return(rented);
    }
}
