using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Σu, Σu·v and Σu² per channel where a channel owns contiguous runs: (outer, channels, inner), inner > 1.
//
//   channel c:  ──run 0── … ──run 1── … ──run outer−1──      item = (channel, segment of its runs) → partials[item]
//
// Lanes are double and stay in registers from run to run. A lane takes at most Depth additions before it is flushed into the item's
// exact pair sum, which keeps the relative error of a sum of squares below about Depth · 2⁻⁵³ ≈ 2.8e-14 at any size.

/// <summary>Sums over contiguous runs; one work item is one segment of one channel.</summary>
internal readonly unsafe struct RowSums<TTerms>(TTerms terms, RowSegments segments, double* shifts, PairSum* partials) : IKernel
    where TTerms : struct, IPairTerms
{
    private const int Depth = 256;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double> =>
        partials[item] = Segment<TDouble>(terms, segments, item, shifts[segments.Channel(item)]);

    /// <summary>The sums of one segment.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairSum Segment<TVector>(TTerms terms, RowSegments segments, int item, double shift)
        where TVector : struct, IVector<TVector, double>
    {
        var (start, length, runs, stride) = segments.Locate(item);
        var count = TVector.Count;
        var k = TVector.Broadcast(shift);
        var sum = default(PairSum);
        PairLanes<TVector> lanes0 = default, lanes1 = default, lanes2 = default, lanes3 = default;
        var depth = 0;
        for (var run = 0; run < runs; run++)
        {
            var element = start + (run * stride);
            var end = element + length;
            while (end - element >= 4 * count)
            {
                // As many rounds of four vectors as this run has and the lanes may still take.
                var rounds = (int)Math.Min((end - element) / (4 * count), Depth - depth);
                depth += rounds;
                for (; rounds > 0; rounds--, element += 4 * count)
                {
                    lanes0.Add(terms, element, k);
                    lanes1.Add(terms, element + count, k);
                    lanes2.Add(terms, element + (2 * count), k);
                    lanes3.Add(terms, element + (3 * count), k);
                }
                if (depth < Depth) break;
                Flush(ref sum, ref lanes0, ref lanes1, ref lanes2, ref lanes3);
                depth = 0;
            }
            if (end - element >= 2 * count)
            {
                lanes0.Add(terms, element, k);
                lanes1.Add(terms, element + count, k);
                element += 2 * count;
            }
            if (end - element >= count)
            {
                lanes2.Add(terms, element, k);
                element += count;
            }
            if (end > element) lanes3.Add(terms, element, (int)(end - element), k);
            if (++depth < Depth) continue;
            Flush(ref sum, ref lanes0, ref lanes1, ref lanes2, ref lanes3);
            depth = 0;
        }
        Flush(ref sum, ref lanes0, ref lanes1, ref lanes2, ref lanes3);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Flush<TVector>(
        ref PairSum sum, ref PairLanes<TVector> lanes0, ref PairLanes<TVector> lanes1, ref PairLanes<TVector> lanes2, ref PairLanes<TVector> lanes3)
        where TVector : struct, IVector<TVector, double>
    {
        var lanes = lanes0 + lanes1 + (lanes2 + lanes3);
        sum.Add(lanes.U.Sum(), lanes.UV.Sum(), lanes.UU.Sum());
        lanes0 = lanes1 = lanes2 = lanes3 = default;
    }
}
