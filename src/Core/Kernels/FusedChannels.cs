using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

// Sums and elementwise pass of one group of channels after the other, for channels that own contiguous runs and fit into the
// second-level cache:
//
//   group:  sums over all runs of each channel → constants → elementwise over the runs, sample by sample
//
// The second pass then reads from the cache, and memory is read once instead of twice. Out of cache the second pass, which waits for its
// results to leave, asks for the inputs of the next group meanwhile. A group is one channel where those are large, and as many as share
// a vector of their finishing, and whole cache lines of each sample, where they are small. Sums are taken in the same segments and
// merged in the same order as when the whole tensor is summed first: the bits are the same.

/// <summary>A sum pass and the elementwise pass that depends on it; one work item is a group of channels.</summary>
internal readonly unsafe struct FusedChannels<TTerms, TFinish, TOperator, TResidence>(
    TTerms terms, TFinish finish, TOperator op, ChannelView view, double* shifts, PairSums sums, ChannelConstants constants) : IKernel
    where TTerms : struct, IPairTerms
    where TFinish : struct, IChannelFinish
    where TOperator : struct, IElementwiseOperator
    where TResidence : struct, IResidence
{
    private readonly RowSegments _segments = new(view);
    private readonly int _group = GroupOf(view, finish.Multiple);

    public int Items => (view.Channels + _group - 1) / _group;

    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var (from, to) = (item * _group, Math.Min(view.Channels, (item + 1) * _group));
        finish.Begin<TDouble>(from, to, shifts);
        for (var isLast = false; ; isLast = true)
        {
            var all = sums;
            for (var channel = from; channel < to; channel++) all[channel] = Sum<TDouble>(channel);
            if (finish.Finish<TDouble>(from, to, sums, shifts, isLast)) break;
        }
        var ahead = to < view.Channels ? (nint)(to - from) * view.Inner : 0;
        // Backwards: what was summed last is the likeliest to be in the caches still.
        for (var outer = view.Outer - 1; outer >= 0; outer--)
        {
            var sample = (nint)outer * view.Channels;
            RunsSweep<TOperator, TResidence>.Stretch<TSingle, TDouble>(
                op, view, (sample + from) * view.Inner, (sample + to) * view.Inner, constants, ahead);
        }
        TResidence.Fence();
    }

    private PairSum Sum<TVector>(int channel)
        where TVector : struct, IVector<TVector, double>
    {
        var first = channel * _segments.PerChannel;
        var sum = RowSums<TTerms, TResidence>.Segment<TVector>(terms, _segments, first, shifts[channel]);
        for (var segment = 1; segment < _segments.PerChannel; segment++)
            sum.Add(RowSums<TTerms, TResidence>.Segment<TVector>(terms, _segments, first + segment, shifts[channel]));
        return sum;
    }

    private static int GroupOf(ChannelView view, int multiple)
    {
        var channels = (int)Math.Clamp(Partition.ItemElements / 2 / Math.Max(view.CountPerChannel, 1), 1, view.Channels);
        if (channels >= IResidence.LineFloats / 2) channels = RoundUp(channels, IResidence.LineFloats);
        return RoundUp(channels, multiple);
    }

    private static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;
}

/// <summary>Runs a sum pass and the elementwise pass that depends on it, fused where the layout allows it.</summary>
internal static unsafe class FusedPass
{
    // What a channel's inputs may take of the second-level cache.
    private const long ChannelBytes = 896 << 10;
    private const int LeastChannels = 8;

    /// <param name="terms">What is summed.</param>
    /// <param name="finish">What surrounds the sums of a channel; sets <paramref name="constants"/>.</param>
    /// <param name="op">The elementwise operator.</param>
    /// <param name="inputs">Number of tensors that both passes read.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="constants">Read by <paramref name="op"/>.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Run<TTerms, TFinish, TOperator>(
        TTerms terms, TFinish finish, TOperator op, int inputs, ChannelView view, ChannelConstants constants, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TOperator : struct, IElementwiseOperator
    {
        if (view.Count == 0) return;
        var fits = view.CountPerChannel * finish.Multiple * inputs * sizeof(float) <= ChannelBytes
            && view.Channels / finish.Multiple >= LeastChannels;
        if (view.IsColumns || !fits)
        {
            ChannelSums.Run(terms, finish, view, compute);
            ElementwisePass.Run(op, view, constants, compute);
        }
        else if (compute.IsOutOfCache(view)) RunFused<TTerms, TFinish, TOperator, OutOfCache>(terms, finish, op, view, constants, compute);
        else RunFused<TTerms, TFinish, TOperator, InCache>(terms, finish, op, view, constants, compute);
    }

    private static void RunFused<TTerms, TFinish, TOperator, TResidence>(
        TTerms terms, TFinish finish, TOperator op, ChannelView view, ChannelConstants constants, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TOperator : struct, IElementwiseOperator
        where TResidence : struct, IResidence
    {
        var padded = PairSums.Padded(view.Channels);
        using var memory = NativeBuffer.Rent((padded * sizeof(double)) + PairSums.Bytes(view.Channels));
        var shifts = (double*)memory.Pointer;
        var kernel = new FusedChannels<TTerms, TFinish, TOperator, TResidence>(
            terms, finish, op, view, shifts, new(shifts + padded, padded), constants);
        Partition.Run(kernel, kernel.Items, view.Count, compute);
    }
}
