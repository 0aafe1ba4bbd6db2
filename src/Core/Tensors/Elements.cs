using System.Runtime.InteropServices;

namespace BnService.Core.Tensors;

/// <summary>Elements of a tensor, or of some other memory, in either precision; none where there is no tensor.</summary>
public readonly ref struct Elements
{
    private Elements(Span<float> singles, Span<double> doubles)
    {
        Singles = singles;
        Doubles = doubles;
    }

    /// <summary>Number of elements.</summary>
    public int Length => Singles.Length + Doubles.Length;

    /// <summary>Whether there are none.</summary>
    public bool IsEmpty => Length == 0;

    internal Span<float> Singles { get; }

    internal Span<double> Doubles { get; }

    internal bool AreDouble => !Doubles.IsEmpty;

    internal Precision Precision => AreDouble ? Precision.Float64 : Precision.Float32;

    /// <summary>An element as a double, where that is fast enough; what is set is rounded to the precision of the memory.</summary>
    public double this[int index]
    {
        get => Doubles.IsEmpty ? Singles[index] : Doubles[index];
        set
        {
            if (Doubles.IsEmpty) Singles[index] = (float)value;
            else Doubles[index] = value;
        }
    }

    /// <summary>The elements of a tensor.</summary>
    public static implicit operator Elements(Tensor? tensor) =>
        tensor is null ? default : tensor.Precision == Precision.Float64 ? new([], tensor.Doubles) : new(tensor.Data, []);

    /// <summary>Elements of other memory.</summary>
    public static implicit operator Elements(Span<float> values) => new(values, []);

    /// <summary>Elements of memory that is only read.</summary>
    public static implicit operator Elements(ReadOnlySpan<float> values) => new(Writable(values), []);

    /// <summary>Elements of other memory.</summary>
    public static implicit operator Elements(float[]? values) => new(values, []);

    /// <summary>Elements of other memory.</summary>
    public static implicit operator Elements(Span<double> values) => new([], values);

    /// <summary>Elements of memory that is only read.</summary>
    public static implicit operator Elements(ReadOnlySpan<double> values) => new([], Writable(values));

    /// <summary>Elements of other memory.</summary>
    public static implicit operator Elements(double[]? values) => new([], values);

    /// <summary>Some of them; of none there are none.</summary>
    public Elements Slice(int start, int length) =>
        IsEmpty ? default : AreDouble ? new([], Doubles.Slice(start, length)) : new(Singles.Slice(start, length), []);

    /// <summary>Copies all of them.</summary>
    public void CopyTo(Elements destination)
    {
        Singles.CopyTo(destination.Singles);
        Doubles.CopyTo(destination.Doubles);
    }

    /// <summary>Whether both are the same memory.</summary>
    public bool AreSame(Elements other) => Singles == other.Singles && Doubles == other.Doubles;

    /// <summary>Whether they share memory.</summary>
    public bool Overlap(Elements other) => Singles.Overlaps(other.Singles) || Doubles.Overlaps(other.Doubles);

    private static Span<T> Writable<T>(ReadOnlySpan<T> values) =>
        MemoryMarshal.CreateSpan(ref MemoryMarshal.GetReference(values), values.Length);
}
