using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Σu, Σu·v and Σu² per channel where channels are adjacent: rows × columns, row-major (dense [N, C], channels last).
//
//            c →  panel | panel | …
//   row ↓         block 0                   item = block of rows → its partials, one row of doubles per kind of sum
//                 block 1
//
// Four rows at a time are swept along a panel of columns, whose lanes (double) wait in the first-level cache: memory is read in
// sequence and four additions share a load and a store of their lanes. Strips of columns held in registers down the rows lose, since a
// stride of a power of two maps every row to the same cache set. A lane takes at most Depth additions before it is flushed into the
// block's exact sums (two-sum), which keeps the relative error of a sum of squares below about Depth · 2⁻⁵³ ≈ 2.8e-14.

/// <summary>Sums down columns; one work item is one block of rows.</summary>
internal readonly unsafe struct ColumnSums<TTerms>(TTerms terms, ColumnBlocks blocks, double* shifts, ColumnPartials partials) : IKernel
    where TTerms : struct, IPairTerms
{
    private const int Depth = 256;
    private const int Panel = 512;

    [SkipLocalsInit]
    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var lanes = stackalloc double[3 * Panel];
        partials.Clear(item);
        var (start, end) = blocks.Locate(item);
        var rows = (int)((end - start) / blocks.Columns);
        for (var panel = 0; panel < blocks.Columns; panel += Panel)
        {
            var width = Math.Min(Panel, blocks.Columns - panel);
            for (var row = 0; row < rows; row += Depth)
                SweepRows<TDouble>(start + ((nint)row * blocks.Columns) + panel, Math.Min(Depth, rows - row), panel, width, lanes, item);
            // The last row of the tensor may end before its last column.
            var rest = (int)Math.Clamp(end - start - ((nint)rows * blocks.Columns) - panel, 0, width);
            if (rest > 0) SweepRows<TDouble>(start + ((nint)rows * blocks.Columns) + panel, 1, panel, rest, lanes, item);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SweepRows<TVector>(nint element, int rows, int panel, int width, double* lanes, int item)
        where TVector : struct, IVector<TVector, double>
    {
        for (var kind = 0; kind < (TTerms.WithSquares ? 3 : 2); kind++)
            new Span<double>(lanes + (kind * Panel), ColumnPartials.Padded(width)).Clear();
        for (; rows >= 4; rows -= 4, element += 4 * (nint)blocks.Columns) Sweep<TVector>(element, 4, panel, width, lanes);
        for (; rows > 0; rows--, element += blocks.Columns) Sweep<TVector>(element, 1, panel, width, lanes);
        partials.Flush<TVector>(item, panel, width, lanes, lanes + Panel, TTerms.WithSquares ? lanes + (2 * Panel) : null);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Sweep<TVector>(nint element, int rows, int panel, int width, double* lanes)
        where TVector : struct, IVector<TVector, double>
    {
        var column = 0;
        for (; width - column >= TVector.Count; column += TVector.Count)
        {
            var k = TVector.Load(shifts + panel + column);
            var sums = Load<TVector>(lanes + column);
            sums.Add(terms, element + column, k);
            if (rows == 4)
            {
                sums.Add(terms, element + blocks.Columns + column, k);
                sums.Add(terms, element + (2 * (nint)blocks.Columns) + column, k);
                sums.Add(terms, element + (3 * (nint)blocks.Columns) + column, k);
            }
            Store(sums, lanes + column);
        }
        if (column == width) return;
        var last = Load<TVector>(lanes + column);
        for (var row = 0; row < rows; row++)
            last.Add(terms, element + (row * (nint)blocks.Columns) + column, width - column, TVector.Load(shifts + panel + column));
        Store(last, lanes + column);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PairLanes<TVector> Load<TVector>(double* lanes)
        where TVector : struct, IVector<TVector, double> => new()
        {
            U = TVector.Load(lanes),
            UV = TVector.Load(lanes + Panel),
            UU = TTerms.WithSquares ? TVector.Load(lanes + (2 * Panel)) : TVector.Zero,
        };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TVector>(PairLanes<TVector> sums, double* lanes)
        where TVector : struct, IVector<TVector, double>
    {
        sums.U.Store(lanes);
        sums.UV.Store(lanes + Panel);
        if (TTerms.WithSquares) sums.UU.Store(lanes + (2 * Panel));
    }
}
