using System.Numerics;
using System.Runtime.CompilerServices;

namespace BnService.Core.Simd;

/// <summary>A single lane: the tail of every sweep, and the reference width that runs anywhere.</summary>
internal readonly unsafe struct Lanes1<T>(T lane) : IVector<Lanes1<T>, T>
    where T : unmanaged, IFloatingPointIeee754<T>
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;
    private readonly T _lane = lane;

    public static int Count => 1;

    public static Lanes1<T> Zero => default;

    [MethodImpl(Inline)]
    public static Lanes1<T> Broadcast(T value) => new(value);

    [MethodImpl(Inline)]
    public static Lanes1<T> Load(T* source) => new(*source);

    [MethodImpl(Inline)]
    public static Lanes1<T> LoadFloats(float* source) =>
        new(typeof(T) == typeof(float) ? Unsafe.BitCast<float, T>(*source) : Unsafe.BitCast<double, T>(*source));

    // A count below one lane is none: the scalar width has no ragged ends.
    [MethodImpl(Inline)]
    public static Lanes1<T> LoadFloats(float* source, int count) => default;

    [MethodImpl(Inline)]
    public void Store(T* destination) => *destination = _lane;

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination) =>
        *destination = typeof(T) == typeof(float) ? Unsafe.BitCast<T, float>(_lane) : (float)Unsafe.BitCast<T, double>(_lane);

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination, int count)
    {
    }

    [MethodImpl(Inline)]
    public void StreamFloats(float* destination) => StoreFloats(destination);

    [MethodImpl(Inline)]
    public static Lanes1<T> First(Lanes1<T> value, int count) => default;

    [MethodImpl(Inline)]
    public static Lanes1<T> operator +(Lanes1<T> left, Lanes1<T> right) => new(left._lane + right._lane);

    [MethodImpl(Inline)]
    public static Lanes1<T> operator -(Lanes1<T> left, Lanes1<T> right) => new(left._lane - right._lane);

    [MethodImpl(Inline)]
    public static Lanes1<T> operator *(Lanes1<T> left, Lanes1<T> right) => new(left._lane * right._lane);

    [MethodImpl(Inline)]
    public static Lanes1<T> operator /(Lanes1<T> left, Lanes1<T> right) => new(left._lane / right._lane);

    [MethodImpl(Inline)]
    public static Lanes1<T> FusedMultiplyAdd(Lanes1<T> left, Lanes1<T> right, Lanes1<T> addend) =>
        new(T.FusedMultiplyAdd(left._lane, right._lane, addend._lane));

    [MethodImpl(Inline)]
    public static Lanes1<T> Gate(Lanes1<T> gate, Lanes1<T> value) => gate._lane <= T.Zero ? default : value;

    [MethodImpl(Inline)]
    public static Lanes1<T> Sqrt(Lanes1<T> value) => new(T.Sqrt(value._lane));

    [MethodImpl(Inline)]
    public static Lanes1<T> Abs(Lanes1<T> value) => new(T.Abs(value._lane));

    [MethodImpl(Inline)]
    public static Lanes1<T> RoundToSingle(Lanes1<T> value) => new(T.CreateTruncating(float.CreateTruncating(value._lane)));

    // A set mask is 1: nobody looks at its bits.
    [MethodImpl(Inline)]
    public static Lanes1<T> LessThan(Lanes1<T> left, Lanes1<T> right) => left._lane < right._lane ? new(T.One) : default;

    [MethodImpl(Inline)]
    public static Lanes1<T> Choose(Lanes1<T> mask, Lanes1<T> whenSet, Lanes1<T> whenNot) => mask._lane != T.Zero ? whenSet : whenNot;

    [MethodImpl(Inline)]
    public static Lanes1<T> MaskOfFirst(int count) => count > 0 ? new(T.One) : default;

    [MethodImpl(Inline)]
    public static bool Any(Lanes1<T> mask) => mask._lane != T.Zero;

    [MethodImpl(Inline)]
    public T Sum() => _lane;
}
