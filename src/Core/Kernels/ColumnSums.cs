using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Σu, Σu·v and Σu² per channel where channels are adjacent: rows × channels, row-major (dense [N, C], channels last).
//
//            c →  strip | strip | tail
//   row ↓         block 0                   item = block of rows → partials[item · channels + c]
//                 block 1
//
// A strip of columns is held in registers (double lanes) down at most Depth rows, then flushed into the block's exact pair sums:
// the relative error of a sum of squares stays below about Depth · 2⁻⁵³ ≈ 1.4e-14 at any size.

/// <summary>Sums down columns; one work item is one block of rows.</summary>
internal readonly unsafe struct ColumnSums<TTerms>(TTerms terms, ColumnBlocks blocks, int channels, double* shifts, PairSum* partials)
    : IKernel
    where TTerms : struct, IPairTerms
{
    private const int Depth = 128;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var sums = partials + ((nint)item * channels);
        new Span<PairSum>(sums, channels).Clear();
        var (start, end) = blocks.Rows(item);
        for (; start < end; start += Depth)
        {
            var stop = Math.Min(end, start + Depth);
            var channel = 0;
            for (; channels - channel >= 4 * TDouble.Count; channel += 4 * TDouble.Count) WideStrip<TDouble>(start, stop, channel, sums);
            for (; channels - channel >= TDouble.Count; channel += TDouble.Count) Strip<TDouble>(start, stop, channel, sums);
            for (; channel < channels; channel++) Strip<Lanes1<double>>(start, stop, channel, sums);
        }
    }

    // Four vectors side by side: whole cache lines per row, and eight independent chains of additions.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WideStrip<TVector>(int start, int end, int channel, PairSum* sums)
        where TVector : struct, IVector<TVector, double>
    {
        var count = TVector.Count;
        TVector k0 = TVector.Load(shifts + channel), k1 = TVector.Load(shifts + channel + count);
        TVector k2 = TVector.Load(shifts + channel + (2 * count)), k3 = TVector.Load(shifts + channel + (3 * count));
        PairLanes<TVector> lanes0 = default, lanes1 = default, lanes2 = default, lanes3 = default;
        var element = ((nint)start * channels) + channel;
        for (var row = start; row < end; row++, element += channels)
        {
            lanes0.Add(terms, element, k0);
            lanes1.Add(terms, element + count, k1);
            lanes2.Add(terms, element + (2 * count), k2);
            lanes3.Add(terms, element + (3 * count), k3);
        }
        Flush(lanes0, sums + channel);
        Flush(lanes1, sums + channel + count);
        Flush(lanes2, sums + channel + (2 * count));
        Flush(lanes3, sums + channel + (3 * count));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Strip<TVector>(int start, int end, int channel, PairSum* sums)
        where TVector : struct, IVector<TVector, double>
    {
        var k = TVector.Load(shifts + channel);
        PairLanes<TVector> lanes = default;
        var element = ((nint)start * channels) + channel;
        for (var row = start; row < end; row++, element += channels) lanes.Add(terms, element, k);
        Flush(lanes, sums + channel);
    }

    // Not inlined: its stack memory would be taken anew for every strip.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Flush<TVector>(PairLanes<TVector> lanes, PairSum* sums)
        where TVector : struct, IVector<TVector, double>
    {
        var count = TVector.Count;
        var values = stackalloc double[3 * count];
        lanes.U.Store(values);
        lanes.UV.Store(values + count);
        lanes.UU.Store(values + (2 * count));
        for (var lane = 0; lane < count; lane++) sums[lane].Add(values[lane], values[count + lane], values[(2 * count) + lane]);
    }
}
