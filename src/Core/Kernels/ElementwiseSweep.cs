using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>Applies an operator to adjacent elements: up to an aligned address, four vectors at a time, one at a time, and the rest.</summary>
internal static unsafe class ElementwiseSweep<TOperator, TStore>
    where TOperator : struct, IElementwiseOperator
    where TStore : struct, IStore
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;

    [MethodImpl(Inline)]
    public static void Run<TVector, T, TConstants>(TOperator op, nint start, int length, TConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector>
    {
        var count = TVector.Count;
        var index = TStore.IsStreaming ? Math.Min(length, Misalignment(op.Output + start, count)) : 0;
        if (index > 0) Part<TVector, T, TConstants>(op, start, 0, index, constants);
        for (; length - index >= 4 * count; index += 4 * count)
        {
            var y0 = Full<TVector, T, TConstants>(op, start, index, constants);
            var y1 = Full<TVector, T, TConstants>(op, start, index + count, constants);
            var y2 = Full<TVector, T, TConstants>(op, start, index + (2 * count), constants);
            var y3 = Full<TVector, T, TConstants>(op, start, index + (3 * count), constants);
            var output = op.Output + start + index;
            TStore.Store<TVector, T>(y0, output);
            TStore.Store<TVector, T>(y1, output + count);
            TStore.Store<TVector, T>(y2, output + (2 * count));
            TStore.Store<TVector, T>(y3, output + (3 * count));
        }
        for (; length - index >= count; index += count)
            TStore.Store<TVector, T>(Full<TVector, T, TConstants>(op, start, index, constants), op.Output + start + index);
        if (length > index) Part<TVector, T, TConstants>(op, start, index, length - index, constants);
    }

    [MethodImpl(Inline)]
    private static TVector Full<TVector, T, TConstants>(TOperator op, nint start, int index, TConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector> =>
        op.Apply<TVector, T, FullAccess>(start + index, default,
            constants.Get(0, index), constants.Get(1, index), constants.Get(2, index), constants.Get(3, index));

    [MethodImpl(Inline)]
    private static void Part<TVector, T, TConstants>(TOperator op, nint start, int index, int count, TConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TConstants : struct, IConstants<TVector>
    {
        var y = op.Apply<TVector, T, PartAccess>(start + index, new PartAccess(count),
            constants.Get(0, index), constants.Get(1, index), constants.Get(2, index), constants.Get(3, index));
        y.StoreFloats(op.Output + start + index, count);
    }

    // Floats up to the next address that a vector of floats is aligned to; a buffer of floats reaches one.
    [MethodImpl(Inline)]
    private static int Misalignment(float* address, int count) => (int)((count - (((nint)address / sizeof(float)) & (count - 1))) & (count - 1));
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

/// <summary>Where results go.</summary>
internal unsafe interface IStore
{
    static abstract bool IsStreaming { get; }

    static abstract void Store<TVector, T>(TVector value, float* destination)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged;
}

/// <summary>Into the caches.</summary>
internal readonly unsafe struct CachedStore : IStore
{
    public static bool IsStreaming => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVector, T>(TVector value, float* destination)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged => value.StoreFloats(destination);
}

/// <summary>Past the caches; destinations are aligned.</summary>
internal readonly unsafe struct StreamingStore : IStore
{
    public static bool IsStreaming => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVector, T>(TVector value, float* destination)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged => value.StreamFloats(destination);
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Get(int kind, int index) => kind switch { 0 => _c0, 1 => _c1, 2 => _c2, _ => _c3 };
}

/// <summary>Each column's own constants.</summary>
internal readonly unsafe struct ColumnConstants<TOperator, TVector, T> : IConstants<TVector>
    where TOperator : struct, IElementwiseOperator
    where TVector : struct, IVector<TVector, T>
    where T : unmanaged
{
    private readonly T* _c0, _c1, _c2, _c3;

    public ColumnConstants(ChannelConstants constants)
    {
        _c0 = constants.Row<T>(0);
        _c1 = TOperator.Constants > 1 ? constants.Row<T>(1) : null;
        _c2 = TOperator.Constants > 2 ? constants.Row<T>(2) : null;
        _c3 = TOperator.Constants > 3 ? constants.Row<T>(3) : null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Get(int kind, int index) =>
        kind >= TOperator.Constants ? TVector.Zero : TVector.Load((kind switch { 0 => _c0, 1 => _c1, 2 => _c2, _ => _c3 }) + index);
}
