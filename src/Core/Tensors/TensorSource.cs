namespace BnService.Core.Tensors;

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
