using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>Applies an operator to adjacent elements whose constants go along: four vectors at a time, one at a time, and the rest.</summary>
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

    /// <summary>Floats up to the next address that a vector of floats is aligned to, where that matters; a buffer of floats reaches one.</summary>
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
