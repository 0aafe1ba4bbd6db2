using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Σu, Σu·v and Σu² per channel where a channel owns contiguous runs: (outer, channels, inner), inner > 1.
//
//   channel c:  ──run 0── … ──run 1── … ──run outer−1──      item = (channel, segment of its runs) → partials[item]
//
// Lanes are double. A lane takes at most Depth additions before it is flushed into the item's exact pair sum, which keeps the
// relative error of a sum of squares below about Depth · 2⁻⁵³ ≈ 1.4e-14 at any size.

/// <summary>Sums over contiguous runs; one work item is one segment of one channel.</summary>
internal readonly unsafe struct RowSums<TTerms>(TTerms terms, RowSegments segments, double* shifts, PairSum* partials) : IKernel
    where TTerms : struct, IPairTerms
{
    private const int Depth = 128;
    private const int Accumulators = 4;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var (start, length, runs, stride) = segments.Locate(item);
        var shift = shifts[segments.Channel(item)];
        var sum = default(PairSum);
        for (var run = 0; run < runs; run++)
        {
            var element = start + (run * stride);
            var end = element + length;
            element = Sweep<TDouble>(element, end, shift, ref sum);
            Sweep<Lanes1<double>>(element, end, shift, ref sum);
        }
        partials[item] = sum;
    }

    // Sums whole vectors and returns the first element that is left.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private nint Sweep<TVector>(nint element, nint end, double shift, ref PairSum sum)
        where TVector : struct, IVector<TVector, double>
    {
        var k = TVector.Broadcast(shift);
        while (end - element >= TVector.Count)
        {
            PairLanes<TVector> lanes0 = default, lanes1 = default, lanes2 = default, lanes3 = default;
            var chunkEnd = Math.Min(end, element + (Depth * Accumulators * TVector.Count));
            for (; chunkEnd - element >= Accumulators * TVector.Count; element += Accumulators * TVector.Count)
            {
                lanes0.Add(terms, element, k);
                lanes1.Add(terms, element + TVector.Count, k);
                lanes2.Add(terms, element + (2 * TVector.Count), k);
                lanes3.Add(terms, element + (3 * TVector.Count), k);
            }
            for (; chunkEnd - element >= TVector.Count; element += TVector.Count) lanes0.Add(terms, element, k);
            var lanes = lanes0 + lanes1 + (lanes2 + lanes3);
            sum.Add(lanes.U.Sum(), lanes.UV.Sum(), lanes.UU.Sum());
        }
        return element;
    }
}
