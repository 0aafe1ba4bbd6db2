using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace BnService.Core.Simd;

/// <summary>256 bits of lanes: 8 floats or 4 doubles.</summary>
internal readonly unsafe struct Lanes256<T>(Vector256<T> lanes) : IVector<Lanes256<T>, T>
    where T : unmanaged
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;
    private readonly Vector256<T> _lanes = lanes;

    public static int Count => Vector256<T>.Count;

    public static Lanes256<T> Zero => new(Vector256<T>.Zero);

    [MethodImpl(Inline)]
    public static Lanes256<T> Broadcast(T value) => new(Vector256.Create(value));

    [MethodImpl(Inline)]
    public static Lanes256<T> Load(T* source) => new(Vector256.Load(source));

    [MethodImpl(Inline)]
    public static Lanes256<T> LoadFloats(float* source) =>
        typeof(T) == typeof(float)
            ? new(Vector256.Load(source).As<float, T>())
            : new(Vector256.WidenLower(Vector128.Load(source).ToVector256Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes256<T> LoadFloats(float* source, int count) =>
        typeof(T) == typeof(float)
            ? new(PartialVector.Load256(source, count).As<float, T>())
            : new(Vector256.WidenLower(PartialVector.Load128(source, count).ToVector256Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public void Store(T* destination) => _lanes.Store(destination);

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination)
    {
        if (typeof(T) == typeof(float)) _lanes.AsSingle().Store(destination);
        else Vector128.Narrow(_lanes.AsDouble().GetLower(), _lanes.AsDouble().GetUpper()).Store(destination);
    }

    [MethodImpl(Inline)]
    public void StoreFloats(float* destination, int count)
    {
        if (typeof(T) == typeof(float)) PartialVector.Store256(destination, _lanes.AsSingle(), count);
        else PartialVector.Store128(destination, Vector128.Narrow(_lanes.AsDouble().GetLower(), _lanes.AsDouble().GetUpper()), count);
    }

    [MethodImpl(Inline)]
    public void StreamFloats(float* destination)
    {
        if (typeof(T) == typeof(float)) _lanes.AsSingle().StoreAlignedNonTemporal(destination);
        else StoreFloats(destination);
    }

    [MethodImpl(Inline)]
    public static Lanes256<T> First(Lanes256<T> value, int count) => new(MaskOfFirst(count)._lanes & value._lanes);

    [MethodImpl(Inline)]
    public static Lanes256<T> operator +(Lanes256<T> left, Lanes256<T> right) => new(left._lanes + right._lanes);

    [MethodImpl(Inline)]
    public static Lanes256<T> operator -(Lanes256<T> left, Lanes256<T> right) => new(left._lanes - right._lanes);

    [MethodImpl(Inline)]
    public static Lanes256<T> operator *(Lanes256<T> left, Lanes256<T> right) => new(left._lanes * right._lanes);

    [MethodImpl(Inline)]
    public static Lanes256<T> operator /(Lanes256<T> left, Lanes256<T> right) => new(left._lanes / right._lanes);

    [MethodImpl(Inline)]
    public static Lanes256<T> FusedMultiplyAdd(Lanes256<T> left, Lanes256<T> right, Lanes256<T> addend) =>
        typeof(T) == typeof(float)
            ? new(Vector256.FusedMultiplyAdd(left._lanes.AsSingle(), right._lanes.AsSingle(), addend._lanes.AsSingle()).As<float, T>())
            : new(Vector256.FusedMultiplyAdd(left._lanes.AsDouble(), right._lanes.AsDouble(), addend._lanes.AsDouble()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes256<T> Gate(Lanes256<T> gate, Lanes256<T> value) =>
        new(Vector256.AndNot(value._lanes, Vector256.LessThanOrEqual(gate._lanes, Vector256<T>.Zero)));

    [MethodImpl(Inline)]
    public static Lanes256<T> Sqrt(Lanes256<T> value) => new(Vector256.Sqrt(value._lanes));

    [MethodImpl(Inline)]
    public static Lanes256<T> Abs(Lanes256<T> value) => new(Vector256.Abs(value._lanes));

    [MethodImpl(Inline)]
    public static Lanes256<T> RoundToSingle(Lanes256<T> value) =>
        typeof(T) == typeof(float)
            ? value
            : new(Vector256.WidenLower(Vector128.Narrow(value._lanes.AsDouble().GetLower(),
                value._lanes.AsDouble().GetUpper()).ToVector256Unsafe()).As<double, T>());

    [MethodImpl(Inline)]
    public static Lanes256<T> LessThan(Lanes256<T> left, Lanes256<T> right) => new(Vector256.LessThan(left._lanes, right._lanes));

    [MethodImpl(Inline)]
    public static Lanes256<T> Choose(Lanes256<T> mask, Lanes256<T> whenSet, Lanes256<T> whenNot) =>
        new(Vector256.ConditionalSelect(mask._lanes, whenSet._lanes, whenNot._lanes));

    [MethodImpl(Inline)]
    public static Lanes256<T> MaskOfFirst(int count) =>
        typeof(T) == typeof(float)
            ? new(Vector256.LessThan(Vector256<int>.Indices, Vector256.Create(count)).As<int, T>())
            : new(Vector256.LessThan(Vector256<long>.Indices, Vector256.Create((long)count)).As<long, T>());

    [MethodImpl(Inline)]
    public static bool Any(Lanes256<T> mask) => mask._lanes.AsInt64() != Vector256<long>.Zero;

    [MethodImpl(Inline)]
    public T Sum() => Vector128.Sum(_lanes.GetLower() + _lanes.GetUpper());
}
