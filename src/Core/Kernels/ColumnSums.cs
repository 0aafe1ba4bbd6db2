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
// sequence, four additions share a load and a store of their lanes, and out of cache the next four rows are asked for meanwhile (without
// that they arrive at half the speed). Strips of columns held in registers down the rows lose, since a stride of a power of two maps
// every row to the same cache set. A lane takes at most Depth additions before it goes into the block's exact sums (two-sum), which
// keeps the relative error of a sum of squares below about Depth · 2⁻⁵³ ≈ 2.8e-14.

/// <summary>Sums down columns; one work item is one block of rows.</summary>
internal readonly unsafe struct ColumnSums<TTerms, TResidence>(TTerms terms, ColumnBlocks blocks, double* shifts, PairSums partials) : IKernel
    where TTerms : struct, IPairTerms
    where TResidence : struct, IResidence
{
    private const int Depth = 256;
    private const int Panel = 1024;

    // Not a multiple of a page, or the lanes of one column would all lie in the same cache set.
    private const int LanesRow = Panel + 40;

    [SkipLocalsInit]
    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var lanes = stackalloc double[3 * LanesRow];
        var sums = partials.At(item);
        var (start, end) = blocks.Locate(item);
        var rows = (int)((end - start) / blocks.Columns);
        // The last row of the tensor may end before its last column.
        var ragged = end - start - ((nint)rows * blocks.Columns);
        if (ragged > 0) sums.Clear();
        for (var panel = 0; panel < blocks.Columns; panel += Panel)
        {
            var width = Math.Min(Panel, blocks.Columns - panel);
            for (var row = 0; row < rows; row += Depth)
            {
                SweepRows<TDouble>(start + ((nint)row * blocks.Columns) + panel, Math.Min(Depth, rows - row), panel, width, lanes);
                Flush<TDouble>(sums, panel, width, lanes, isFirst: row == 0 && ragged == 0);
            }
            var rest = (int)Math.Clamp(ragged - panel, 0, width);
            if (rest == 0) continue;
            SweepRows<TDouble>(start + ((nint)rows * blocks.Columns) + panel, 1, panel, rest, lanes);
            Flush<TDouble>(sums, panel, rest, lanes, isFirst: false);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SweepRows<TVector>(nint element, int rows, int panel, int width, double* lanes)
        where TVector : struct, IVector<TVector, double>
    {
        for (var kind = 0; kind < (TTerms.WithSquares ? 3 : 2); kind++)
            new Span<double>(lanes + (kind * LanesRow), PairSums.Padded(width)).Clear();
        var (inputs, stride) = (terms, (nint)blocks.Columns);
        var k = shifts + panel;
        for (; rows >= 4; rows -= 4, element += 4 * stride)
        {
            var column = 0;
            for (; width - column >= TVector.Count; column += TVector.Count)
            {
                if (TResidence.IsOutOfCache && column % IResidence.LineFloats == 0)
                {
                    for (var row = 4; row < 8; row++) inputs.ReadAhead<TResidence>(element + (row * stride) + column);
                }
                var (shift, sums) = (TVector.Load(k + column), Load<TVector>(lanes + column));
                sums.Add(inputs, element + column, shift);
                sums.Add(inputs, element + stride + column, shift);
                sums.Add(inputs, element + (2 * stride) + column, shift);
                sums.Add(inputs, element + (3 * stride) + column, shift);
                Store(sums, lanes + column);
            }
            for (var row = 0; row < 4 && column < width; row++) Part<TVector>(inputs, element + (row * stride), column, width, k, lanes);
        }
        for (; rows > 0; rows--, element += stride)
        {
            var column = 0;
            for (; width - column >= TVector.Count; column += TVector.Count)
            {
                var sums = Load<TVector>(lanes + column);
                sums.Add(inputs, element + column, TVector.Load(k + column));
                Store(sums, lanes + column);
            }
            if (column < width) Part<TVector>(inputs, element, column, width, k, lanes);
        }
    }

    // The last columns of a row, which do not fill a vector.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Part<TVector>(TTerms inputs, nint element, int column, int width, double* k, double* lanes)
        where TVector : struct, IVector<TVector, double>
    {
        var sums = Load<TVector>(lanes + column);
        sums.Add(inputs, element + column, width - column, TVector.Load(k + column));
        Store(sums, lanes + column);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Flush<TVector>(PairSums sums, int panel, int width, double* lanes, bool isFirst)
        where TVector : struct, IVector<TVector, double>
    {
        for (var column = 0; column < width; column += TVector.Count)
        {
            var part = Load<TVector>(lanes + column);
            if (isFirst) sums.Put(panel + column, part.U, part.UV, part.UU);
            else sums.Add(panel + column, part.U, part.UV, part.UU);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PairLanes<TVector> Load<TVector>(double* lanes)
        where TVector : struct, IVector<TVector, double> => new()
        {
            U = TVector.Load(lanes),
            UV = TVector.Load(lanes + LanesRow),
            UU = TTerms.WithSquares ? TVector.Load(lanes + (2 * LanesRow)) : TVector.Zero,
        };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TVector>(PairLanes<TVector> sums, double* lanes)
        where TVector : struct, IVector<TVector, double>
    {
        sums.U.Store(lanes);
        sums.UV.Store(lanes + LanesRow);
        if (TTerms.WithSquares) sums.UU.Store(lanes + (2 * LanesRow));
    }
}
