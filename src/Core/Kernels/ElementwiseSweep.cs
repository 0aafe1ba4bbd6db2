using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>
/// Applies an operator to adjacent elements whose constants go along: four vectors at a time, one at a time, and the rest.
/// </summary>
internal static unsafe class ElementwiseSweep<TOperator, TResidence>
    where TOperator : struct, IElementwiseOperator
    where TResidence : struct, IResidence
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;

    /// <summary>All of <paramref name="length"/> elements; out of cache a first part up to an aligned address.</summary>
    [MethodImpl(Inline)]
    public static void Run<TVector, T, TConstants>(TOperator op, nint start, int length, TConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector>
    {
        var index = Math.Min(length, Misalignment<TVector, T>(op, start));
        if (index > 0) Part<TVector, T, TConstants>(op, start, 0, index, constants);
        index = Whole<TVector, T, TConstants>(op, start, index, length, constants, 0);
        if (length > index) Part<TVector, T, TConstants>(op, start, index, length - index, constants);
    }

    /// <summary>The whole vectors from <paramref name="index"/> on.</summary>
    /// <returns>The index behind them.</returns>
    [MethodImpl(Inline)]
    public static int Whole<TVector, T, TConstants>(TOperator op, nint start, int index, int length, TConstants constants, nint ahead)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector>
    {
        var count = TVector.Count;
        for (; length - index >= 4 * count; index += 4 * count)
        {
            if (TResidence.IsOutOfCache && ahead != 0)
            {
                for (var line = 0; line < 4 * count; line += IResidence.LineFloats) op.ReadAhead<TResidence>(start + index + line + ahead);
            }
            var y0 = Full<TVector, T, TConstants>(op, start, index, constants);
            var y1 = Full<TVector, T, TConstants>(op, start, index + count, constants);
            var y2 = Full<TVector, T, TConstants>(op, start, index + (2 * count), constants);
            var y3 = Full<TVector, T, TConstants>(op, start, index + (3 * count), constants);
            var output = op.Output + start + index;
            TResidence.Store<TVector, T>(y0, output);
            TResidence.Store<TVector, T>(y1, output + count);
            TResidence.Store<TVector, T>(y2, output + (2 * count));
            TResidence.Store<TVector, T>(y3, output + (3 * count));
        }
        for (; length - index >= count; index += count)
            TResidence.Store<TVector, T>(Full<TVector, T, TConstants>(op, start, index, constants), op.Output + start + index);
        return index;
    }

    /// <summary>Fewer elements than a vector has.</summary>
    [MethodImpl(Inline)]
    public static void Part<TVector, T, TConstants>(TOperator op, nint start, int index, int count, TConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector>
    {
        var y = op.Apply<TVector, T, PartAccess>(start + index, new PartAccess(count),
            constants.Get(0, index), constants.Get(1, index), constants.Get(2, index), constants.Get(3, index));
        y.StoreFloats(op.Output + start + index, count);
    }

    /// <summary>One vector.</summary>
    [MethodImpl(Inline)]
    public static TVector Full<TVector, T, TConstants>(TOperator op, nint start, int index, TConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector> =>
        op.Apply<TVector, T, FullAccess>(start + index, default,
            constants.Get(0, index), constants.Get(1, index), constants.Get(2, index), constants.Get(3, index));

    /// <summary>
    /// Floats up to the next address that a vector of floats is aligned to, where that matters; a buffer of floats reaches one.
    /// </summary>
    [MethodImpl(Inline)]
    public static int Misalignment<TVector, T>(TOperator op, nint start)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        var count = TVector.Count;
        return TResidence.IsOutOfCache ? (int)((count - (((nint)(op.Output + start) / sizeof(float)) & (count - 1))) & (count - 1)) : 0;
    }
}

/// <summary>How an operator loads its elements.</summary>
internal unsafe interface IAccess
{
    TVector Load<TVector, T>(float* source)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged;
}

/// <summary>Whole vectors.</summary>
internal readonly unsafe struct FullAccess : IAccess
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Load<TVector, T>(float* source)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged => TVector.LoadFloats(source);
}

/// <summary>The first elements of a vector.</summary>
internal readonly unsafe struct PartAccess(int count) : IAccess
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Load<TVector, T>(float* source)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged => TVector.LoadFloats(source, count);
}

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
