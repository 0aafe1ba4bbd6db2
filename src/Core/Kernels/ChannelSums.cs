using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>Σu, Σu·v and, where wanted, Σu² of every channel: the parts are summed in parallel and merged in their order.</summary>
internal static unsafe class ChannelSums
{
    /// <summary>Sums until every channel is finished: a second time where a shift was too far off.</summary>
    /// <param name="terms">What is summed.</param>
    /// <param name="finish">What surrounds the sums of a channel.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Run<TTerms, TFinish>(TTerms terms, TFinish finish, ChannelView view, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
    {
        if (compute.IsOutOfCache(view)) Run<TTerms, TFinish, OutOfCache>(terms, finish, view, compute);
        else Run<TTerms, TFinish, InCache>(terms, finish, view, compute);
    }

    private static void Run<TTerms, TFinish, TResidence>(TTerms terms, TFinish finish, ChannelView view, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TResidence : struct, IResidence
    {
        if (view.Count == 0) return;
        if (view.IsColumns) OfColumns<TTerms, TFinish, TResidence>(terms, finish, view, compute);
        else OfRows<TTerms, TFinish, TResidence>(terms, finish, view, compute);
    }

    private static void OfRows<TTerms, TFinish, TResidence>(TTerms terms, TFinish finish, ChannelView view, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TResidence : struct, IResidence
    {
        var segments = new RowSegments(view);
        var padded = PairSums.Padded(view.Channels);
        using var memory = NativeBuffer.Rent(PairSums.Bytes(view.Channels) + (padded * sizeof(double)) + ((long)segments.Items * sizeof(PairSum)));
        var shifts = (double*)memory.Pointer;
        var sums = new PairSums(shifts + padded, padded);
        var partials = (PairSum*)(shifts + padded + (PairSums.Bytes(view.Channels) / sizeof(double)));
        Finishing<TFinish>.Begin(finish, view.Channels, shifts, compute);
        for (var isLast = false; ; isLast = true)
        {
            Partition.Run(new RowSums<TTerms, TResidence>(terms, segments, shifts, partials), segments.Items, view.Count, compute);
            for (var c = 0; c < view.Channels; c++)
            {
                var sum = partials[c * segments.PerChannel];
                for (var part = 1; part < segments.PerChannel; part++) sum.Add(partials[(c * segments.PerChannel) + part]);
                sums[c] = sum;
            }
            if (Finishing<TFinish>.Run(finish, view.Channels, new(sums, 1, 1, ArePlain: false), shifts, isLast, compute)) return;
        }
    }

    private static void OfColumns<TTerms, TFinish, TResidence>(TTerms terms, TFinish finish, ChannelView view, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
        where TResidence : struct, IResidence
    {
        var blocks = new ColumnBlocks(view, mayRepeat: !TTerms.DependsOnRow);
        var padded = PairSums.Padded(blocks.Columns);
        using var memory = NativeBuffer.Rent((PairSums.Bytes(blocks.Columns) * blocks.Items) + (padded * sizeof(double)));
        var shifts = (double*)memory.Pointer;
        var partials = new PairSums(shifts + padded, padded);
        Finishing<TFinish>.Begin(finish, view.Channels, shifts, compute);
        for (var isLast = false; ; isLast = true)
        {
            for (var column = view.Channels; column < padded; column++) shifts[column] = shifts[column - view.Channels];
            Partition.Run(new ColumnSums<TTerms, TResidence>(terms, blocks, shifts, partials), blocks.Items, view.Count, compute);
            if (Finishing<TFinish>.Run(finish, view.Channels, new(partials, blocks.Items, blocks.Repeats, ColumnSums<TTerms, TResidence>.IsPlain(blocks)), shifts, isLast, compute)) return;
        }
    }
}
