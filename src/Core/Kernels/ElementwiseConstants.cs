using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>The constants of the elements at an index of a sweep.</summary>
internal interface IConstants<TVector>
{
    TVector Get(int kind, int index);
}

/// <summary>One channel's constants for all elements.</summary>
internal readonly unsafe struct BroadcastConstants<TOperator, TVector, T> : IConstants<TVector>
    where TOperator : struct, IElementwiseOperator
    where TVector : struct, IVector<TVector, T>
    where T : unmanaged
{
    private readonly TVector _c0, _c1, _c2, _c3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public BroadcastConstants(ChannelConstants constants, int channel)
    {
        _c0 = TVector.Broadcast(constants.Row<T>(0)[channel]);
        _c1 = TOperator.Constants > 1 ? TVector.Broadcast(constants.Row<T>(1)[channel]) : TVector.Zero;
        _c2 = TOperator.Constants > 2 ? TVector.Broadcast(constants.Row<T>(2)[channel]) : TVector.Zero;
        _c3 = TOperator.Constants > 3 ? TVector.Broadcast(constants.Row<T>(3)[channel]) : TVector.Zero;
    }

    private BroadcastConstants(TVector c0, TVector c1, TVector c2, TVector c3) => (_c0, _c1, _c2, _c3) = (c0, c1, c2, c3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Get(int kind, int index) => kind switch { 0 => _c0, 1 => _c1, 2 => _c2, _ => _c3 };

    /// <summary>These for the first <paramref name="count"/> lanes, those of the next channel for the others.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public BroadcastConstants<TOperator, TVector, T> UpTo(int count, BroadcastConstants<TOperator, TVector, T> next)
    {
        var mask = TVector.MaskOfFirst(count);
        return new(
            TVector.Choose(mask, _c0, next._c0),
            TOperator.Constants > 1 ? TVector.Choose(mask, _c1, next._c1) : TVector.Zero,
            TOperator.Constants > 2 ? TVector.Choose(mask, _c2, next._c2) : TVector.Zero,
            TOperator.Constants > 3 ? TVector.Choose(mask, _c3, next._c3) : TVector.Zero);
    }
}

/// <summary>Each column's own constants.</summary>
internal readonly unsafe struct ColumnConstants<TOperator, TVector, T> : IConstants<TVector>
    where TOperator : struct, IElementwiseOperator
    where TVector : struct, IVector<TVector, T>
    where T : unmanaged
{
    private readonly T* _c0, _c1, _c2, _c3;

    /// <param name="constants">The constants of all columns.</param>
    /// <param name="first">The column that index 0 stands for.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ColumnConstants(ChannelConstants constants, int first)
    {
        _c0 = constants.Row<T>(0) + first;
        _c1 = TOperator.Constants > 1 ? constants.Row<T>(1) + first : null;
        _c2 = TOperator.Constants > 2 ? constants.Row<T>(2) + first : null;
        _c3 = TOperator.Constants > 3 ? constants.Row<T>(3) + first : null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Get(int kind, int index) =>
        kind >= TOperator.Constants ? TVector.Zero : TVector.Load((kind switch { 0 => _c0, 1 => _c1, 2 => _c2, _ => _c3 }) + index);
}
