using System.Runtime.CompilerServices;

namespace BnService.Core.Simd;

/// <summary>
/// One register of <typeparamref name="T"/> lanes. Every kernel is written once over this interface and compiled once per width:
/// the runtime's own abstraction of the kind is internal, and struct type arguments with static abstract members give the same
/// machine code as direct calls.
/// </summary>
/// <remarks>
/// Tensors hold float32, sums and rare channels need double: a vector of double lanes therefore also loads floats (widened, exact)
/// and stores floats (rounded to nearest). Memory need not be aligned.
/// </remarks>
/// <typeparam name="TSelf">The vector itself.</typeparam>
/// <typeparam name="T">The type of a lane, <see cref="float"/> or <see cref="double"/>.</typeparam>
internal unsafe interface IVector<TSelf, T>
    where TSelf : struct, IVector<TSelf, T>
    where T : unmanaged
{
    /// <summary>Number of lanes.</summary>
    static abstract int Count { get; }

    static abstract TSelf Zero { get; }

    static abstract TSelf Broadcast(T value);

    static abstract TSelf Load(T* source);

    /// <summary>Loads <see cref="Count"/> floats as lanes of <typeparamref name="T"/>.</summary>
    static abstract TSelf LoadFloats(float* source);

    /// <summary>
    /// Loads the first <paramref name="count"/> floats, 0 ≤ count &lt; <see cref="Count"/>; the lanes behind are 0, and no memory behind is
    /// read.
    /// </summary>
    static abstract TSelf LoadFloats(float* source, int count);

    void Store(T* destination);

    /// <summary>Stores the lanes as <see cref="Count"/> floats.</summary>
    void StoreFloats(float* destination);

    /// <summary>Stores the first <paramref name="count"/> lanes as floats; no memory behind is written.</summary>
    void StoreFloats(float* destination, int count);

    /// <summary>
    /// Stores the lanes as floats past the caches where they are floats; <paramref name="destination"/> is aligned to the vector.
    /// </summary>
    void StreamFloats(float* destination);

    /// <summary>The first <paramref name="count"/> lanes, and 0 behind.</summary>
    static abstract TSelf First(TSelf value, int count);

    static abstract TSelf operator +(TSelf left, TSelf right);

    static abstract TSelf operator -(TSelf left, TSelf right);

    static abstract TSelf operator *(TSelf left, TSelf right);

    static abstract TSelf operator /(TSelf left, TSelf right);

    /// <summary>left · right + addend, rounded once.</summary>
    static abstract TSelf FusedMultiplyAdd(TSelf left, TSelf right, TSelf addend);

    /// <summary>
    /// <paramref name="value"/> in the lanes where <paramref name="gate"/> is not ≤ 0, else 0 (so a NaN gate lets the value pass).
    /// </summary>
    static abstract TSelf Gate(TSelf gate, TSelf value);

    static abstract TSelf Sqrt(TSelf value);

    static abstract TSelf Abs(TSelf value);

    /// <summary>Each lane rounded to the nearest <see cref="float"/>.</summary>
    static abstract TSelf RoundToSingle(TSelf value);

    /// <summary>
    /// A mask of the lanes where <paramref name="left"/> &lt; <paramref name="right"/>: for <see cref="Choose"/> and <see cref="Any"/>
    /// alone.
    /// </summary>
    static abstract TSelf LessThan(TSelf left, TSelf right);

    /// <summary><paramref name="whenSet"/> in the lanes of a mask, <paramref name="whenNot"/> in the others.</summary>
    static abstract TSelf Choose(TSelf mask, TSelf whenSet, TSelf whenNot);

    /// <summary>A mask of the first <paramref name="count"/> lanes.</summary>
    static abstract TSelf MaskOfFirst(int count);

    /// <summary>Whether any lane of a mask is set.</summary>
    static abstract bool Any(TSelf mask);

    /// <summary>The sum of the lanes, in a fixed order.</summary>
    T Sum();
}

/// <summary>What is put together from the operations of <see cref="IVector{TSelf, T}"/>, on double lanes.</summary>
internal static class Lanes
{
    /// <summary>A mask of the lanes that are neither infinite nor NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector IsFinite<TVector>(TVector value)
        where TVector : struct, IVector<TVector, double> =>
            TVector.LessThan(TVector.Abs(value), TVector.Broadcast(double.PositiveInfinity));

    /// <summary>A mask of the lanes that are 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector IsZero<TVector>(TVector value)
        where TVector : struct, IVector<TVector, double> => TVector.LessThan(TVector.Abs(value), TVector.Broadcast(double.Epsilon));

    /// <summary>A mask of the lanes that are set in either.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Either<TVector>(TVector mask, TVector other)
        where TVector : struct, IVector<TVector, double> => TVector.Choose(mask, mask, other);

    /// <summary>What a + b loses when rounded to <paramref name="sum"/> (Knuth's two-sum).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector SumResidual<TVector>(TVector a, TVector b, TVector sum)
        where TVector : struct, IVector<TVector, double>
    {
        var part = sum - a;
        return (a - (sum - part)) + (b - part);
    }

    /// <summary>The values at <paramref name="source"/>, or <paramref name="missing"/> where there are none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe TVector LoadOr<TVector>(double* source, int index, double missing)
        where TVector : struct, IVector<TVector, double> =>
        source is null ? TVector.Broadcast(missing) : TVector.Load(source + index);
}
