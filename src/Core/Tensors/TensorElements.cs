namespace BnService.Core.Tensors;

/// <summary>The elements of a tensor of either precision as doubles, where that is fast enough.</summary>
/// <param name="tensor">The tensor.</param>
public readonly ref struct TensorElements(Tensor tensor)
{
    private readonly Span<float> _singles = tensor.Precision == Precision.Float32 ? tensor.Data : default;
    private readonly Span<double> _doubles = tensor.Precision == Precision.Float64 ? tensor.Doubles : default;

    /// <summary>Number of elements.</summary>
    public int Length => _singles.Length + _doubles.Length;

    /// <summary>An element; what is set is rounded to the tensor's precision.</summary>
    public double this[int index]
    {
        get => _doubles.IsEmpty ? _singles[index] : _doubles[index];
        set
        {
            if (_doubles.IsEmpty) _singles[index] = (float)value;
            else _doubles[index] = value;
        }
    }
}
