using System.Numerics;
using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>What an elementwise kernel computes for a vector of elements, given the constants of their channels.</summary>
internal interface IElementwiseOperator
{
    /// <summary>Number of constants per channel, 1 to 4; those beyond it are zero.</summary>
    static abstract int Constants { get; }

    void Apply<TVector, T>(nint element, TVector c0, TVector c1, TVector c2, TVector c3)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged;
}

// Runs an operator over all elements, in both memory shapes:
//
//   rows     (outer, channels, inner): the constants of a channel are broadcast once for all its runs;
//   columns  rows × channels:          the constants are loaded along with the elements, one row after the other.
//
// A channel that asks for double gets it. With adjacent channels the whole tensor does, since a vector spans many of them: this is
// for inputs near float's range, where being right matters and being fast does not.

/// <summary>The driver of all elementwise kernels; one work item is one row segment or one block of rows.</summary>
internal readonly struct Elementwise<TOperator>(TOperator op, ChannelView view, ChannelConstants constants) : IKernel
    where TOperator : struct, IElementwiseOperator
{
    private readonly RowSegments _segments = new(view);
    private readonly ColumnBlocks _blocks = new(view);

    public int Items => view.IsColumns ? _blocks.Items : _segments.Items;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        if (view.IsColumns)
        {
            if (constants.AnyNeedsDouble) Columns<TDouble, double>(item);
            else Columns<TSingle, float>(item);
        }
        else if (constants.NeedsDouble(_segments.Channel(item))) Rows<TDouble, double>(item);
        else Rows<TSingle, float>(item);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Rows<TVector, T>(int item)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        var (start, length, runs, stride) = _segments.Locate(item);
        var channel = _segments.Channel(item);
        for (var run = 0; run < runs; run++)
        {
            var element = start + (run * stride);
            var end = element + length;
            element = SweepRun<TVector, T>(element, end, channel);
            SweepRun<Lanes1<T>, T>(element, end, channel);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe nint SweepRun<TVector, T>(nint element, nint end, int channel)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        TVector c0 = Broadcast<TVector, T>(0, channel), c1 = Broadcast<TVector, T>(1, channel);
        TVector c2 = Broadcast<TVector, T>(2, channel), c3 = Broadcast<TVector, T>(3, channel);
        for (; end - element >= TVector.Count; element += TVector.Count) op.Apply<TVector, T>(element, c0, c1, c2, c3);
        return element;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Columns<TVector, T>(int item)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        var (start, end) = _blocks.Rows(item);
        for (var row = start; row < end; row++)
        {
            var rowStart = (nint)row * view.Channels;
            var channel = SweepRow<TVector, T>(rowStart, 0);
            SweepRow<Lanes1<T>, T>(rowStart, channel);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int SweepRow<TVector, T>(nint rowStart, int channel)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        for (; view.Channels - channel >= TVector.Count; channel += TVector.Count)
        {
            op.Apply<TVector, T>(rowStart + channel, Load<TVector, T>(0, channel), Load<TVector, T>(1, channel),
                Load<TVector, T>(2, channel), Load<TVector, T>(3, channel));
        }
        return channel;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe TVector Broadcast<TVector, T>(int kind, int channel)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged =>
        kind < TOperator.Constants ? TVector.Broadcast(constants.Row<T>(kind)[channel]) : TVector.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe TVector Load<TVector, T>(int kind, int channel)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged =>
        kind < TOperator.Constants ? TVector.Load(constants.Row<T>(kind) + channel) : TVector.Zero;
}
