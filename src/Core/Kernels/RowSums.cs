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
internal readonly unsafe struct RowSums<TTerms, TResidence>(TTerms terms, RowSegments segments, double* shifts, PairSum* partials) : IKernel
    where TTerms : struct, IPairTerms
    where TResidence : struct, IResidence
{
    private const int Depth = 256;
    private const int AheadElements = 1024;

    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double> =>
        partials[item] = Segment<TDouble>(terms, segments, item, shifts[segments.Channel(item)]);

    /// <summary>The sums of one segment.</summary>
    /// <remarks>An entry of compilation: inlined more than once into a caller, its lanes would no longer fit into registers.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static PairSum Segment<TVector>(TTerms terms, RowSegments segments, int item, double shift)
        where TVector : struct, IVector<TVector, double>
    {
        var (start, length, runs, stride) = segments.Locate(item);
        terms.MoveToRun(segments.RunStart(item));
        var ahead = runs > 1 ? stride : AheadElements;
        var count = TVector.Count;
        var k = TVector.Broadcast(shift);
        var sum = default(PairSum);
        var (element, end) = (start, start + length);
        for (var run = 0; run < runs;)
        {
            PairLanes<TVector> lanes0 = default, lanes1 = default, lanes2 = default, lanes3 = default;
            for (var depth = 0; depth < Depth && run < runs; depth++)
            {
                // As many rounds of four vectors as this run has and the lanes may still take.
                var rounds = (int)Math.Min((end - element) / (4 * count), Depth - depth);
                depth += rounds;
                for (; rounds > 0; rounds--, element += 4 * count)
                {
                    // The next run, while this one is summed; what comes next where there is no other.
                    for (var line = 0; TResidence.IsOutOfCache && line < 4 * count; line += IResidence.LineFloats)
                        terms.ReadAhead<TResidence>(element + ahead + line);
                    lanes0.Add(terms, element, k);
                    lanes1.Add(terms, element + count, k);
                    lanes2.Add(terms, element + (2 * count), k);
                    lanes3.Add(terms, element + (3 * count), k);
                }
                if (end - element >= 4 * count) continue;
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
                run++;
                element = start + (run * stride);
                end = element + length;
            }
            var lanes = lanes0 + lanes1 + (lanes2 + lanes3);
            sum.Add(lanes.U.Sum(), lanes.UV.Sum(), TTerms.WithSquares ? lanes.UU.Sum() : 0);
        }
        return sum;
    }
}
