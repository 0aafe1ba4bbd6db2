namespace BnService.Client.Wire;

/// <summary>The elements of a tensor where the caller has them: float32 or float64.</summary>
/// <param name="Singles">The elements of a float32 tensor.</param>
/// <param name="Doubles">The elements of a float64 tensor.</param>
internal readonly record struct InputTensor(ReadOnlyMemory<float> Singles, ReadOnlyMemory<double> Doubles)
{
    /// <summary>Number of elements.</summary>
    public int Length => Singles.Length + Doubles.Length;

    public static implicit operator InputTensor(ReadOnlyMemory<float> singles) => new(singles, default);

    public static implicit operator InputTensor(ReadOnlyMemory<double> doubles) => new(default, doubles);
}
