using System.Runtime.Intrinsics.X86;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>Turns the sums of a channel into the constants of its elementwise pass.</summary>
internal interface IChannelFinish
{
    /// <summary>Sets the constants; false where the shift was too far off, with a better one in its place: sum once more.</summary>
    bool Finish(int channel, in PairSum sum, ref double shift);
}

// Sums and elementwise pass of one channel after the other, for channels that own contiguous runs and fit into the second-level cache:
//
//   channel c:  sums over all its runs → constants → elementwise over its runs, the last one first
//
// The second pass then reads from the cache, and memory is read once instead of twice. Sums are taken in the same segments and merged
// in the same order as when the whole tensor is summed first: the bits are the same.

/// <summary>A sum pass and the elementwise pass that depends on it; one work item is a group of channels.</summary>
internal readonly unsafe struct FusedChannels<TTerms, TFinish, TOperator, TStore>(
    TTerms terms, TFinish finish, TOperator op, ChannelView view, double* shifts, ChannelConstants constants) : IKernel
    where TTerms : struct, IPairTerms
    where TFinish : struct, IChannelFinish
    where TOperator : struct, IElementwiseOperator
    where TStore : struct, IStore
{
    private readonly RowSegments _segments = new(view);
    private readonly int _channelsPerItem = (int)Math.Clamp(Partition.ItemElements / 4 / Math.Max(view.CountPerChannel, 1), 1, view.Channels);

    public int Items => (view.Channels + _channelsPerItem - 1) / _channelsPerItem;

    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var end = Math.Min(view.Channels, (item + 1) * _channelsPerItem);
        for (var channel = item * _channelsPerItem; channel < end; channel++)
        {
            for (var pass = 0; pass < 2; pass++)
            {
                if (finish.Finish(channel, Sum<TDouble>(channel), ref shifts[channel])) break;
            }
            for (var segment = _segments.PerChannel - 1; segment >= 0; segment--)
                Elementwise<TOperator, TStore>.Segment<TSingle, TDouble>(op, _segments, (channel * _segments.PerChannel) + segment, constants);
        }
        if (TStore.IsStreaming && Sse.IsSupported) Sse.StoreFence();
    }

    private PairSum Sum<TVector>(int channel)
        where TVector : struct, IVector<TVector, double>
    {
        var first = channel * _segments.PerChannel;
        var sum = RowSums<TTerms>.Segment<TVector>(terms, _segments, first, shifts[channel]);
        for (var segment = 1; segment < _segments.PerChannel; segment++)
            sum.Add(RowSums<TTerms>.Segment<TVector>(terms, _segments, first + segment, shifts[channel]));
        return sum;
    }
}

/// <summary>Runs a sum pass and the elementwise pass that depends on it, fused where the layout allows it.</summary>
internal static unsafe class FusedPass
{
    // What a channel's inputs may take of the second-level cache.
    private const long ChannelBytes = 896 << 10;
    private const int LeastChannels = 8;

    /// <param name="terms">What is summed.</param>
    /// <param name="finish">What becomes of the sums.</param>
    /// <param name="op">The elementwise operator.</param>
    /// <param name="inputs">Number of tensors that both passes read.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="shifts">The shift of each channel.</param>
    /// <param name="constants">Set by <paramref name="finish"/>, read by <paramref name="op"/>.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Run<TTerms, TFinish, TOperator>(
        TTerms terms, TFinish finish, TOperator op, int inputs, ChannelView view, double* shifts, ChannelConstants constants, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TOperator : struct, IElementwiseOperator
    {
        if (view.Count == 0) return;
        var fits = view.CountPerChannel * inputs * sizeof(float) <= ChannelBytes && view.Channels >= LeastChannels;
        if (view.IsColumns || !fits) RunApart(terms, finish, op, view, shifts, constants, compute);
        else if (ElementwisePass.IsStreaming(view, compute)) RunFused<TTerms, TFinish, TOperator, StreamingStore>(terms, finish, op, view, shifts, constants, compute);
        else RunFused<TTerms, TFinish, TOperator, CachedStore>(terms, finish, op, view, shifts, constants, compute);
    }

    private static void RunFused<TTerms, TFinish, TOperator, TStore>(
        TTerms terms, TFinish finish, TOperator op, ChannelView view, double* shifts, ChannelConstants constants, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TOperator : struct, IElementwiseOperator
        where TStore : struct, IStore
    {
        var kernel = new FusedChannels<TTerms, TFinish, TOperator, TStore>(terms, finish, op, view, shifts, constants);
        Partition.Run(kernel, kernel.Items, view.Count, compute);
    }

    private static void RunApart<TTerms, TFinish, TOperator>(
        TTerms terms, TFinish finish, TOperator op, ChannelView view, double* shifts, ChannelConstants constants, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TOperator : struct, IElementwiseOperator
    {
        ChannelSums.Run(terms, finish, view, shifts, compute);
        ElementwisePass.Run(op, view, constants, compute);
    }
}
