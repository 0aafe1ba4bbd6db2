using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace BnService.Core.Simd;

/// <summary>512 bits of lanes: 16 floats or 8 doubles.</summary>
internal readonly unsafe struct Lanes512<T>(Vector512<T> lanes) : IVector<Lanes512<T>, T>
    where T : unmanaged
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;
    private readonly Vector512<T> _lanes = lanes;

    public static int Count => Vector512<T>.Count;

    public static Lanes512<T> Zero => new(Vector512<T>.Zero);

    [MethodImpl(Inline)]
    public static Lanes512<T> Broadcast(T value) => new(Vector512.Create(value));

    [MethodImpl(Inline)]
    public static Lanes512<T> Load(T* source) => new(Vector512.Load(source));

    [MethodImpl(Inline)]
    public static Lanes512<T> LoadFloats(float* source) =>
        typeof(T) == typeof(float)
            ? new(Vector512.Load(source).As<float, T>())
            : new(Vector512.WidenLower(Vector256.Load(source).ToVector512Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes512<T> LoadFloats(float* source, int count) =>
        typeof(T) == typeof(float)
            ? new(PartialVector.Load512(source, count).As<float, T>())
            : new(Vector512.WidenLower(PartialVector.Load256(source, count).ToVector512Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public void Store(T* destination) => _lanes.Store(destination);

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination)
    {
        if (typeof(T) == typeof(float)) _lanes.AsSingle().Store(destination);
        else Vector256.Narrow(_lanes.AsDouble().GetLower(), _lanes.AsDouble().GetUpper()).Store(destination);
    }

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination, int count)
    {
        if (typeof(T) == typeof(float)) PartialVector.Store512(destination, _lanes.AsSingle(), count);
        else PartialVector.Store256(destination, Vector256.Narrow(_lanes.AsDouble().GetLower(), _lanes.AsDouble().GetUpper()), count);
    }

    [MethodImpl(Inline)]
    public void StreamFloats(float* destination)
    {
        if (typeof(T) == typeof(float)) _lanes.AsSingle().StoreAlignedNonTemporal(destination);
        else StoreFloats(destination);
    }

    [MethodImpl(Inline)]
    public static Lanes512<T> First(Lanes512<T> value, int count) => new(MaskOfFirst(count)._lanes & value._lanes);

    [MethodImpl(Inline)]
    public static Lanes512<T> operator +(Lanes512<T> left, Lanes512<T> right) => new(left._lanes + right._lanes);

    [MethodImpl(Inline)]
    public static Lanes512<T> operator -(Lanes512<T> left, Lanes512<T> right) => new(left._lanes - right._lanes);

    [MethodImpl(Inline)]
    public static Lanes512<T> operator *(Lanes512<T> left, Lanes512<T> right) => new(left._lanes * right._lanes);

    [MethodImpl(Inline)]
    public static Lanes512<T> operator /(Lanes512<T> left, Lanes512<T> right) => new(left._lanes / right._lanes);

    [MethodImpl(Inline)]
    public static Lanes512<T> FusedMultiplyAdd(Lanes512<T> left, Lanes512<T> right, Lanes512<T> addend) =>
        typeof(T) == typeof(float)
            ? new(Vector512.FusedMultiplyAdd(left._lanes.AsSingle(), right._lanes.AsSingle(), addend._lanes.AsSingle()).As<float, T>())
            : new(Vector512.FusedMultiplyAdd(left._lanes.AsDouble(), right._lanes.AsDouble(), addend._lanes.AsDouble()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes512<T> Gate(Lanes512<T> gate, Lanes512<T> value) =>
        new(Vector512.AndNot(value._lanes, Vector512.LessThanOrEqual(gate._lanes, Vector512<T>.Zero)));

    [MethodImpl(Inline)]
    public static Lanes512<T> Sqrt(Lanes512<T> value) => new(Vector512.Sqrt(value._lanes));

    [MethodImpl(Inline)]
    public static Lanes512<T> Abs(Lanes512<T> value) => new(Vector512.Abs(value._lanes));

    [MethodImpl(Inline)]
    public static Lanes512<T> RoundToSingle(Lanes512<T> value) =>
        typeof(T) == typeof(float)
            ? value
            : new(Vector512.WidenLower(Vector256.Narrow(value._lanes.AsDouble().GetLower(),
                value._lanes.AsDouble().GetUpper()).ToVector512Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes512<T> LessThan(Lanes512<T> left, Lanes512<T> right) => new(Vector512.LessThan(left._lanes, right._lanes));

    [MethodImpl(Inline)]
    public static Lanes512<T> Choose(Lanes512<T> mask, Lanes512<T> whenSet, Lanes512<T> whenNot) =>
        new(Vector512.ConditionalSelect(mask._lanes, whenSet._lanes, whenNot._lanes));

    [MethodImpl(Inline)]
    public static Lanes512<T> MaskOfFirst(int count) =>
        typeof(T) == typeof(float)
            ? new(Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count)).As<int, T>())
            : new(Vector512.LessThan(Vector512<long>.Indices, Vector512.Create((long)count)).As<long, T>());

    [MethodImpl(Inline)]
    public static bool Any(Lanes512<T> mask) => mask._lanes.AsInt64() != Vector512<long>.Zero;

    [MethodImpl(Inline)]
    public T Sum() => new Lanes256<T>(_lanes.GetLower() + _lanes.GetUpper()).Sum();
}
