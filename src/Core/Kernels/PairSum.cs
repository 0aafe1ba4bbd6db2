using System.Runtime.CompilerServices;

namespace BnService.Core.Kernels;

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
