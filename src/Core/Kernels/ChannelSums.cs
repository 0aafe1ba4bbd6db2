using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>Σu, Σu·v and, where wanted, Σu² of every channel: the parts are summed in parallel and merged in their order.</summary>
internal static unsafe class ChannelSums
{
    /// <param name="terms">What is summed.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="shifts">The shift of each channel.</param>
    /// <param name="sums">Receives the sums of each channel.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Of<TTerms>(TTerms terms, ChannelView view, double* shifts, PairSum* sums, ComputeSettings compute)
        where TTerms : struct, IPairTerms
    {
        var columns = view.IsColumns;
        var (segments, blocks) = (new RowSegments(view), new ColumnBlocks(view));
        var parts = columns ? blocks.Items : segments.PerChannel;
        using var memory = NativeBuffer.Rent((long)parts * view.Channels * sizeof(PairSum));
        var partials = (PairSum*)memory.Pointer;
        if (columns)
            Partition.Run(new ColumnSums<TTerms>(terms, blocks, view.Channels, shifts, partials), blocks.Items, view.Count, compute);
        else
            Partition.Run(new RowSums<TTerms>(terms, segments, shifts, partials), segments.Items, view.Count, compute);
        var (nextPart, nextChannel) = columns ? ((nint)view.Channels, (nint)1) : (1, parts);
        for (var c = 0; c < view.Channels; c++)
        {
            sums[c] = default;
            for (var part = 0; part < parts; part++) sums[c].Add(partials[(part * nextPart) + (c * nextChannel)]);
        }
    }
}
