using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>What an elementwise kernel computes for a vector of elements, given the constants of their channels.</summary>
internal unsafe interface IElementwiseOperator
{
    /// <summary>Number of constants per channel, 1 to 4; those beyond it are zero.</summary>
    static abstract int Constants { get; }

    /// <summary>Where the first element's result goes.</summary>
    float* Output { get; }

    TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector c0, TVector c1, TVector c2, TVector c3)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess;
}

// Runs an operator over all elements, in both memory shapes:
//
//   rows     (outer, channels, inner): the constants of a channel are broadcast once for all its runs;
//   columns  rows × columns:           the constants are loaded along with the elements, one row after the other.
//
// Results that would not stay in the caches go past them (non-temporal stores): that saves reading the lines that are overwritten.
// A channel that asks for double gets it. With adjacent channels the whole tensor does, since a vector spans many of them: this is
// for inputs near float's range, where being right matters and being fast does not.

/// <summary>The driver of all elementwise kernels; one work item is one row segment or one block of rows.</summary>
internal readonly struct Elementwise<TOperator, TStore>(TOperator op, ChannelView view, ChannelConstants constants) : IKernel
    where TOperator : struct, IElementwiseOperator
    where TStore : struct, IStore
{
    private readonly RowSegments _segments = new(view);
    private readonly ColumnBlocks _blocks = new(view);

    public int Items => view.IsColumns ? _blocks.Items : _segments.Items;

    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        // Backwards: what was summed last is still in the caches.
        item = Items - 1 - item;
        if (!view.IsColumns) Segment<TSingle, TDouble>(op, _segments, item, constants);
        else if (constants.AnyNeedsDouble) Columns<TDouble, double>(item);
        else Columns<TSingle, float>(item);
        if (TStore.IsStreaming && Sse.IsSupported) Sse.StoreFence();
    }

    /// <summary>One segment of the runs of a channel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Segment<TSingle, TDouble>(TOperator op, RowSegments segments, int item, ChannelConstants constants)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        if (constants.NeedsDouble(segments.Channel(item))) Runs<TDouble, double>(op, segments, item, constants);
        else Runs<TSingle, float>(op, segments, item, constants);
    }

    // The entries of compilation: one sweep each, since the compiler stops inlining where a method would get too large.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe void Runs<TVector, T>(TOperator op, RowSegments segments, int item, ChannelConstants constants)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        var (start, length, runs, stride) = segments.Locate(item);
        var same = new BroadcastConstants<TOperator, TVector, T>(constants, segments.Channel(item));
        for (var run = runs - 1; run >= 0; run--)
        {
            var element = start + (run * stride);
            ElementwiseSweep<TOperator, TStore>.Run<TVector, T, BroadcastConstants<TOperator, TVector, T>>(op, element, length, same);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private unsafe void Columns<TVector, T>(int item)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        var (start, end) = _blocks.Locate(item);
        var perColumn = new ColumnConstants<TOperator, TVector, T>(constants);
        for (; start < end; start += _blocks.Columns)
        {
            var width = (int)Math.Min(_blocks.Columns, end - start);
            ElementwiseSweep<TOperator, TStore>.Run<TVector, T, ColumnConstants<TOperator, TVector, T>>(op, start, width, perColumn);
        }
    }
}
