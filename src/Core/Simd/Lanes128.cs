using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace BnService.Core.Simd;

/// <summary>128 bits of lanes: 4 floats or 2 doubles.</summary>
internal readonly unsafe struct Lanes128<T>(Vector128<T> lanes) : IVector<Lanes128<T>, T>
    where T : unmanaged
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;
    private readonly Vector128<T> _lanes = lanes;

    public static int Count => Vector128<T>.Count;

    public static Lanes128<T> Zero => new(Vector128<T>.Zero);

    [MethodImpl(Inline)]
    public static Lanes128<T> Broadcast(T value) => new(Vector128.Create(value));

    [MethodImpl(Inline)]
    public static Lanes128<T> Load(T* source) => new(Vector128.Load(source));

    [MethodImpl(Inline)]
    public static Lanes128<T> LoadFloats(float* source) =>
        typeof(T) == typeof(float)
            ? new(Vector128.Load(source).As<float, T>())
            : new(Vector128.WidenLower(Vector64.Load(source).ToVector128Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes128<T> LoadFloats(float* source, int count) =>
        typeof(T) == typeof(float)
            ? new(PartialVector.Load128(source, count).As<float, T>())
            : new(Vector128.WidenLower(PartialVector.Load128(source, count)).As<double, T>());

    [MethodImpl(Inline)]
    public void Store(T* destination) => _lanes.Store(destination);

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination)
    {
        if (typeof(T) == typeof(float)) _lanes.AsSingle().Store(destination);
        else Vector128.Narrow(_lanes.AsDouble(), _lanes.AsDouble()).GetLower().Store(destination);
    }

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination, int count)
    {
        if (typeof(T) == typeof(float)) PartialVector.Store128(destination, _lanes.AsSingle(), count);
        else PartialVector.Store128(destination, Vector128.Narrow(_lanes.AsDouble(), _lanes.AsDouble()), count);
    }

    [MethodImpl(Inline)]
    public void StreamFloats(float* destination)
    {
        if (typeof(T) == typeof(float)) _lanes.AsSingle().StoreAlignedNonTemporal(destination);
        else StoreFloats(destination);
    }

    [MethodImpl(Inline)]
    public static Lanes128<T> First(Lanes128<T> value, int count) => new(MaskOfFirst(count)._lanes & value._lanes);

    [MethodImpl(Inline)]
    public static Lanes128<T> operator +(Lanes128<T> left, Lanes128<T> right) => new(left._lanes + right._lanes);

    [MethodImpl(Inline)]
    public static Lanes128<T> operator -(Lanes128<T> left, Lanes128<T> right) => new(left._lanes - right._lanes);

    [MethodImpl(Inline)]
    public static Lanes128<T> operator *(Lanes128<T> left, Lanes128<T> right) => new(left._lanes * right._lanes);

    [MethodImpl(Inline)]
    public static Lanes128<T> operator /(Lanes128<T> left, Lanes128<T> right) => new(left._lanes / right._lanes);

    [MethodImpl(Inline)]
    public static Lanes128<T> FusedMultiplyAdd(Lanes128<T> left, Lanes128<T> right, Lanes128<T> addend) =>
        typeof(T) == typeof(float)
            ? new(Vector128.FusedMultiplyAdd(left._lanes.AsSingle(), right._lanes.AsSingle(), addend._lanes.AsSingle()).As<float, T>())
            : new(Vector128.FusedMultiplyAdd(left._lanes.AsDouble(), right._lanes.AsDouble(), addend._lanes.AsDouble()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes128<T> Gate(Lanes128<T> gate, Lanes128<T> value) =>
        new(Vector128.AndNot(value._lanes, Vector128.LessThanOrEqual(gate._lanes, Vector128<T>.Zero)));

    [MethodImpl(Inline)]
    public static Lanes128<T> Sqrt(Lanes128<T> value) => new(Vector128.Sqrt(value._lanes));

    [MethodImpl(Inline)]
    public static Lanes128<T> Abs(Lanes128<T> value) => new(Vector128.Abs(value._lanes));

    [MethodImpl(Inline)]
    public static Lanes128<T> RoundToSingle(Lanes128<T> value) =>
        typeof(T) == typeof(float)
            ? value
            : new(Vector128.WidenLower(Vector128.Narrow(value._lanes.AsDouble(), value._lanes.AsDouble())).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes128<T> LessThan(Lanes128<T> left, Lanes128<T> right) => new(Vector128.LessThan(left._lanes, right._lanes));

    [MethodImpl(Inline)]
    public static Lanes128<T> Choose(Lanes128<T> mask, Lanes128<T> whenSet, Lanes128<T> whenNot) =>
        new(Vector128.ConditionalSelect(mask._lanes, whenSet._lanes, whenNot._lanes));

    [MethodImpl(Inline)]
    public static Lanes128<T> MaskOfFirst(int count) =>
        typeof(T) == typeof(float)
            ? new(Vector128.LessThan(Vector128<int>.Indices, Vector128.Create(count)).As<int, T>())
            : new(Vector128.LessThan(Vector128<long>.Indices, Vector128.Create((long)count)).As<long, T>());

    [MethodImpl(Inline)]
    public static bool Any(Lanes128<T> mask) => mask._lanes.AsInt64() != Vector128<long>.Zero;

    [MethodImpl(Inline)]
    public T Sum() => Vector128.Sum(_lanes);
}
