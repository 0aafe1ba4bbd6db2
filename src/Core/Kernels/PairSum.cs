using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>
/// Σu and Σu·v of part of a channel, each as an unevaluated sum of two doubles (Knuth's two-sum), so that the number of parts
/// costs no accuracy: only the additions inside a part round. Σu² beside them is an ordinary sum, used as a magnitude.
/// </summary>
internal struct PairSum
{
    private double _u, _uLow, _uv, _uvLow;

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

/// <summary>What a sum kernel sums: u and v of each element, in double.</summary>
internal interface IPairTerms
{
    /// <summary>Whether Σu² is wanted as well.</summary>
    static abstract bool WithSquares { get; }

    void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>;
}

/// <summary>The running sums of one vector of lanes, held in registers.</summary>
internal struct PairLanes<TVector>
    where TVector : struct, IVector<TVector, double>
{
    public TVector U, UV, UU;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<TTerms>(TTerms terms, nint element, TVector shift)
        where TTerms : struct, IPairTerms
    {
        terms.Read(element, shift, out TVector u, out TVector v);
        U += u;
        UV = TVector.FusedMultiplyAdd(u, v, UV);
        if (TTerms.WithSquares) UU = TVector.FusedMultiplyAdd(u, u, UU);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairLanes<TVector> operator +(in PairLanes<TVector> a, in PairLanes<TVector> b) =>
        new() { U = a.U + b.U, UV = a.UV + b.UV, UU = a.UU + b.UU };
}

/// <summary>u = v = x − shift: the sums are those of the mean and the variance, taken near the mean where nothing cancels.</summary>
internal readonly unsafe struct MomentTerms(float* x) : IPairTerms
{
    public static bool WithSquares => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double> => u = v = TVector.LoadFloats(x + element) - shift;
}

/// <summary>u = g, v = x − shift: the sums of dβ and dγ, and Σg².</summary>
internal readonly unsafe struct GradientTerms(float* x, float* dy) : IPairTerms
{
    public static bool WithSquares => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        u = TVector.LoadFloats(dy + element);
        v = TVector.LoadFloats(x + element) - shift;
    }
}
