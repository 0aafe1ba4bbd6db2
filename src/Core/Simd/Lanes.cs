using System.Runtime.CompilerServices;

namespace BnService.Core.Simd;

/// <summary>What is put together from the operations of <see cref="IVector{TSelf, T}"/>, on double lanes.</summary>
internal static class Lanes
{
    /// <summary>A mask of the lanes that are neither infinite nor NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector IsFinite<TVector>(TVector value)
        where TVector : struct, IVector<TVector, double> => TVector.LessThan(TVector.Abs(value), TVector.Broadcast(double.PositiveInfinity));

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
