using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>
/// Pair sums of adjacent columns or channels, kind by kind, so that vectors work on them: five rows of doubles (Σu and Σu·v, each with
/// what rounding left over, and Σu²), padded to whole vectors.
/// </summary>
internal readonly unsafe struct PairSums(double* memory, nint row)
{
    private const int Kinds = 5;
    private const int WidestVector = 8;

    public double* U => memory;

    public double* ULow => memory + row;

    public double* UV => memory + (2 * row);

    public double* UVLow => memory + (3 * row);

    public double* UU => memory + (4 * row);

    /// <summary>The sums of one column.</summary>
    public PairSum this[int column]
    {
        get => new(U[column], ULow[column], UV[column], UVLow[column], UU[column]);
        set => (U[column], ULow[column], UV[column], UVLow[column], UU[column]) = value.Parts;
    }

    /// <summary>Columns with padding for whole vectors of doubles.</summary>
    public static int Padded(int columns) => (columns + WidestVector - 1) / WidestVector * WidestVector;

    /// <summary>Bytes of the sums of <paramref name="columns"/> columns.</summary>
    public static long Bytes(int columns) => (long)Padded(columns) * Kinds * sizeof(double);

    /// <summary>The sums of the n-th of several such pieces of memory.</summary>
    public PairSums At(int n) => new(memory + (n * Kinds * row), row);

    public void Clear() => new Span<double>(memory, Kinds * (int)row).Clear();

    /// <summary>Sets a vector of columns to plain sums, of which nothing is left over yet; the rows for that stay as they are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void PutPlain<TVector>(int column, TVector u, TVector uv, TVector uu)
        where TVector : struct, IVector<TVector, double>
    {
        u.Store(U + column);
        uv.Store(UV + column);
        uu.Store(UU + column);
    }

    /// <summary>Makes plain sums of columns whole ones.</summary>
    public void ClearLows(int from, int to)
    {
        new Span<double>(ULow + from, to - from).Clear();
        new Span<double>(UVLow + from, to - from).Clear();
    }

    /// <summary>Adds plain sums to a vector of columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<TVector>(int column, TVector u, TVector uv, TVector uu)
        where TVector : struct, IVector<TVector, double>
    {
        Accumulate(U + column, ULow + column, u);
        Accumulate(UV + column, UVLow + column, uv);
        (TVector.Load(UU + column) + uu).Store(UU + column);
    }

    /// <summary>Adds a vector of columns of other sums, which may be plain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<TVector>(int column, PairSums other, bool isPlain)
        where TVector : struct, IVector<TVector, double>
    {
        Add(column, TVector.Load(other.U + column), TVector.Load(other.UV + column), TVector.Load(other.UU + column));
        if (isPlain) return;
        (TVector.Load(ULow + column) + TVector.Load(other.ULow + column)).Store(ULow + column);
        (TVector.Load(UVLow + column) + TVector.Load(other.UVLow + column)).Store(UVLow + column);
    }

    /// <summary>Both parts of a sum as one number; once it is infinite its correction is NaN and means nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Total<TVector>(TVector sum, TVector low)
        where TVector : struct, IVector<TVector, double> => TVector.Choose(Lanes.IsFinite(sum), sum + low, sum);

    // Knuth's two-sum.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate<TVector>(double* sums, double* lows, TVector value)
        where TVector : struct, IVector<TVector, double>
    {
        var sum = TVector.Load(sums);
        var total = sum + value;
        var part = total - sum;
        total.Store(sums);
        (TVector.Load(lows) + ((sum - (total - part)) + (value - part))).Store(lows);
    }
}

/// <summary>
/// Σu and Σu·v of part of a channel, each as an unevaluated sum of two doubles (Knuth's two-sum), so that the number of parts
/// costs no accuracy: only the additions inside a part round. Σu² beside them is an ordinary sum, used as a magnitude.
/// </summary>
internal struct PairSum
{
    private double _u, _uLow, _uv, _uvLow, _uu;

    public PairSum(double u, double uLow, double uv, double uvLow, double uu) =>
        (_u, _uLow, _uv, _uvLow, _uu) = (u, uLow, uv, uvLow, uu);

    /// <summary>Σu, what rounding it left over, Σu·v, what rounding it left over, Σu².</summary>
    public readonly (double U, double ULow, double UV, double UVLow, double UU) Parts => (_u, _uLow, _uv, _uvLow, _uu);

    public void Add(double u, double uv, double uu)
    {
        Accumulate(ref _u, ref _uLow, u);
        Accumulate(ref _uv, ref _uvLow, uv);
        _uu += uu;
    }

    public void Add(in PairSum other)
    {
        Add(other._u, other._uv, other._uu);
        _uLow += other._uLow;
        _uvLow += other._uvLow;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(ref double sum, ref double low, double value)
    {
        var total = sum + value;
        var part = total - sum;
        low += (sum - (total - part)) + (value - part);
        sum = total;
    }
}
