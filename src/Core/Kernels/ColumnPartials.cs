using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>
/// The partial sums of blocks of rows: for each block five rows of doubles (Σu and Σu·v, each with what rounding left over, and Σu²),
/// one column each, padded to whole vectors.
/// </summary>
internal readonly unsafe struct ColumnPartials(double* memory, int columns)
{
    private const int Kinds = 5;
    private const int WidestVector = 8;
    private readonly nint _row = Padded(columns);

    /// <summary>Columns with padding for whole vectors of doubles.</summary>
    public static int Padded(int columns) => (columns + WidestVector - 1) / WidestVector * WidestVector;

    /// <summary>Bytes of the partial sums of <paramref name="blocks"/> blocks.</summary>
    public static long Bytes(int columns, int blocks) => (long)Padded(columns) * Kinds * blocks * sizeof(double);

    public void Clear(int block) => new Span<double>(Row(block, 0), Kinds * (int)_row).Clear();

    /// <summary>Adds lanes to a block's sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Flush<TVector>(int block, int column, int width, double* u, double* uv, double* uu)
        where TVector : struct, IVector<TVector, double>
    {
        for (var c = 0; c < width; c += TVector.Count)
        {
            Accumulate(Row(block, 0) + column + c, TVector.Load(u + c));
            Accumulate(Row(block, 2) + column + c, TVector.Load(uv + c));
            if (uu is null) continue;
            var squares = Row(block, 4) + column + c;
            (TVector.Load(squares) + TVector.Load(uu + c)).Store(squares);
        }
    }

    /// <summary>Adds a block's sums to those of block 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void MergeIntoFirst<TVector>(int block)
        where TVector : struct, IVector<TVector, double>
    {
        for (nint c = 0; c < _row; c += TVector.Count)
        {
            for (var kind = 0; kind < Kinds; kind++)
            {
                var sum = Row(0, kind) + c;
                var part = TVector.Load(Row(block, kind) + c);
                if (kind is 0 or 2) Accumulate(sum, part);
                else (TVector.Load(sum) + part).Store(sum);
            }
        }
    }

    /// <summary>The sums of one column of block 0.</summary>
    public PairSum this[int column] =>
        new(Row(0, 0)[column], Row(0, 1)[column], Row(0, 2)[column], Row(0, 3)[column], Row(0, 4)[column]);

    // Knuth's two-sum: the sum, and in the row behind it what rounding left over.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Accumulate<TVector>(double* sums, TVector value)
        where TVector : struct, IVector<TVector, double>
    {
        var sum = TVector.Load(sums);
        var total = sum + value;
        var part = total - sum;
        total.Store(sums);
        (TVector.Load(sums + _row) + ((sum - (total - part)) + (value - part))).Store(sums + _row);
    }

    private double* Row(int block, int kind) => memory + ((((nint)block * Kinds) + kind) * _row);
}
