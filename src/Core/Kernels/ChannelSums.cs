using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>Σu, Σu·v and, where wanted, Σu² of every channel: the parts are summed in parallel and merged in their order.</summary>
internal static unsafe class ChannelSums
{
    /// <summary>Sums until every channel is finished: a second time where a shift was too far off.</summary>
    /// <param name="terms">What is summed.</param>
    /// <param name="finish">What becomes of the sums.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="shifts">The shift of each channel.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Run<TTerms, TFinish>(TTerms terms, TFinish finish, ChannelView view, double* shifts, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
    {
        using var memory = NativeBuffer.Rent((long)view.Channels * sizeof(PairSum));
        var sums = (PairSum*)memory.Pointer;
        var isFinished = false;
        for (var pass = 0; pass < 2 && !isFinished; pass++)
        {
            Of(terms, view, shifts, sums, compute);
            isFinished = true;
            for (var c = 0; c < view.Channels; c++) isFinished &= finish.Finish(c, sums[c], ref shifts[c]);
        }
    }

    private static void Of<TTerms>(TTerms terms, ChannelView view, double* shifts, PairSum* sums, ComputeSettings compute)
        where TTerms : struct, IPairTerms
    {
        if (view.IsColumns) OfColumns(terms, view, shifts, sums, compute);
        else OfRows(terms, view, shifts, sums, compute);
    }

    private static void OfRows<TTerms>(TTerms terms, ChannelView view, double* shifts, PairSum* sums, ComputeSettings compute)
        where TTerms : struct, IPairTerms
    {
        var segments = new RowSegments(view);
        using var memory = NativeBuffer.Rent((long)segments.Items * sizeof(PairSum));
        var partials = (PairSum*)memory.Pointer;
        Partition.Run(new RowSums<TTerms>(terms, segments, shifts, partials), segments.Items, view.Count, compute);
        for (var c = 0; c < view.Channels; c++)
        {
            sums[c] = partials[c * segments.PerChannel];
            for (var part = 1; part < segments.PerChannel; part++) sums[c].Add(partials[(c * segments.PerChannel) + part]);
        }
    }

    private static void OfColumns<TTerms>(TTerms terms, ChannelView view, double* shifts, PairSum* sums, ComputeSettings compute)
        where TTerms : struct, IPairTerms
    {
        var blocks = new ColumnBlocks(view);
        var padded = ColumnPartials.Padded(blocks.Columns);
        using var memory = NativeBuffer.Rent(ColumnPartials.Bytes(blocks.Columns, blocks.Items) + ((long)padded * sizeof(double)));
        var columnShifts = (double*)memory.Pointer;
        for (var column = 0; column < padded; column++) columnShifts[column] = shifts[column % view.Channels];
        var partials = new ColumnPartials(columnShifts + padded, blocks.Columns);
        Partition.Run(new ColumnSums<TTerms>(terms, blocks, columnShifts, partials), blocks.Items, view.Count, compute);
        if (blocks.Items > 1) VectorWidths.Run(compute.Width, new MergeBlocks(partials, blocks.Items), 0);
        for (var column = 0; column < blocks.Columns; column++)
        {
            if (column < view.Channels) sums[column] = partials[column];
            else sums[column % view.Channels].Add(partials[column]);
        }
    }

    private readonly struct MergeBlocks(ColumnPartials partials, int blocks) : IKernel
    {
        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double>
        {
            for (var block = 1; block < blocks; block++) partials.MergeIntoFirst<TDouble>(block);
        }
    }
}
