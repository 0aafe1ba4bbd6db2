using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Σu, Σu·v and Σu² per channel where channels are adjacent: rows × columns, row-major (dense [N, C], channels last).
//
//            c →  panel | panel | …
//   row ↓         block 0                   item = block of rows → its partials, one row of doubles per kind of sum
//                 block 1
//
// Rows are swept along a panel of columns, whose lanes (double) wait in the first-level cache. In cache two rows share a load and a store
// of their lanes. Out of cache one row at a time goes by, in the order of memory, and what comes a few thousand elements later is asked
// for meanwhile: without that, or with several rows at once, it arrives at half the speed. Strips of columns held in registers down the
// rows lose, since a stride of a power of two maps every row to the same cache set. A lane takes at most Depth additions before it goes
// into the block's exact sums (two-sum), which keeps the relative error of a sum of squares below about Depth · 2⁻⁵³ ≈ 2.8e-14.

/// <summary>Sums down columns; one work item is one block of rows.</summary>
internal readonly unsafe struct ColumnSums<TTerms, TResidence>(TTerms terms, ColumnBlocks blocks, double* shifts, PairSums partials)
    : IKernel
    where TTerms : struct, IPairTerms
    where TResidence : struct, IResidence
{
    private const int Depth = 256;
    private const int AheadElements = 4096;

    // Not a multiple of a page, or the lanes of one column would all lie in the same cache set.
    private const int LanesRow = 1024 + 40;

    // Lanes and shifts take half of the first-level cache.
    private static int Panel
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TTerms.WithSquares ? 512 : 1024;
    }

    /// <summary>Whether the sums of every block are plain: one flush, without a ragged row.</summary>
    public static bool IsPlain(ColumnBlocks blocks) => blocks.RowsPerBlock <= Depth && blocks.Elements % blocks.Columns == 0;

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
        var isPlain = IsPlain(blocks);
        if (!isPlain) sums.Clear();
        for (var panel = 0; panel < blocks.Columns; panel += Panel)
        {
            var width = Math.Min(Panel, blocks.Columns - panel);
            for (var row = 0; row < rows; row += Depth)
            {
                SweepRows<TDouble>(start + ((nint)row * blocks.Columns) + panel, Math.Min(Depth, rows - row), panel, width, lanes);
                Flush<TDouble>(sums, panel, width, lanes, isPlain);
            }
            var rest = (int)Math.Clamp(ragged - panel, 0, width);
            if (rest == 0) continue;
            SweepRows<TDouble>(start + ((nint)rows * blocks.Columns) + panel, 1, panel, rest, lanes);
            Flush<TDouble>(sums, panel, rest, lanes, isPlain: false);
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
        var ahead = (AheadElements + stride - 1) / stride * stride;
        var index = element / stride;
        for (; !TResidence.IsOutOfCache && rows >= 2; rows -= 2, element += 2 * stride)
        {
            var column = 0;
            var second = inputs;
            inputs.MoveToRow(index++);
            second.MoveToRow(index++);
            for (; width - column >= TVector.Count; column += TVector.Count)
            {
                var (shift, sums) = (TVector.Load(k + column), Load<TVector>(lanes + column));
                sums.Add(inputs, element + column, shift);
                sums.Add(second, element + stride + column, shift);
                Store(sums, lanes + column);
            }
            if (column == width) continue;
            Part<TVector>(inputs, element, column, width, k, lanes);
            Part<TVector>(second, element + stride, column, width, k, lanes);
        }
        for (; rows > 0; rows--, element += stride)
        {
            var column = 0;
            inputs.MoveToRow(index++);
            for (; width - column >= 2 * TVector.Count; column += 2 * TVector.Count)
            {
                inputs.ReadAhead<TResidence>(element + column + ahead);
                One<TVector>(inputs, element, column, k, lanes);
                One<TVector>(inputs, element, column + TVector.Count, k, lanes);
            }
            for (; width - column >= TVector.Count; column += TVector.Count) One<TVector>(inputs, element, column, k, lanes);
            if (column < width) Part<TVector>(inputs, element, column, width, k, lanes);
        }
    }

    // A vector of columns of one row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void One<TVector>(TTerms inputs, nint element, int column, double* k, double* lanes)
        where TVector : struct, IVector<TVector, double>
    {
        var sums = Load<TVector>(lanes + column);
        sums.Add(inputs, element + column, TVector.Load(k + column));
        Store(sums, lanes + column);
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
    private static void Flush<TVector>(PairSums sums, int panel, int width, double* lanes, bool isPlain)
        where TVector : struct, IVector<TVector, double>
    {
        for (var column = 0; column < width; column += TVector.Count)
        {
            var part = Load<TVector>(lanes + column);
            if (isPlain) sums.PutPlain(panel + column, part.U, part.UV, part.UU);
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
