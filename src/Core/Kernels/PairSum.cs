using System.Runtime.CompilerServices;

namespace BnService.Core.Kernels;

/// <summary>
/// Σu and Σu·v of part of a channel, each as an unevaluated sum of two doubles (Knuth's two-sum), so that the number of parts
/// costs no accuracy: only the additions inside a part round. Σu² beside them is an ordinary sum, used as a magnitude.
/// </summary>
internal struct PairSum
{
    private double _u, _uLow, _uv, _uvLow;

    public PairSum(double u, double uLow, double uv, double uvLow, double uu) =>
        (_u, _uLow, _uv, _uvLow, UU) = (u, uLow, uv, uvLow, uu);

    // Once a sum is infinite its correction is NaN and means nothing.
    public readonly double U => double.IsFinite(_u) ? _u + _uLow : _u;

    public readonly double UV => double.IsFinite(_uv) ? _uv + _uvLow : _uv;

    /// <summary>What rounding <see cref="U"/> to double left over; meaningless where that is not finite.</summary>
    public readonly double UResidual => _uLow - (U - _u);

    /// <summary>Σu², for terms that ask for it.</summary>
    public double UU { get; private set; }

    public void Add(double u, double uv, double uu)
    {
        Accumulate(ref _u, ref _uLow, u);
        Accumulate(ref _uv, ref _uvLow, uv);
        UU += uu;
    }

    public void Add(in PairSum other)
    {
        Add(other._u, other._uv, other.UU);
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
