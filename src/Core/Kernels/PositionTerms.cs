using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Terms of kinds whose statistics belong to rows and whose gamma and beta belong to the position within a row.

/// <summary>u = g·γ[p], v = x − shift, summed along a row: what dx needs.</summary>
internal unsafe struct WeightedGradientTerms(float* x, float* dy, double* gamma) : IPairTerms
{
    private nint _run;

    public static bool WithSquares => true;

    public void MoveToRun(nint start) => _run = start;

    public readonly void MoveToRow(nint row)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        u = TVector.LoadFloats(dy + element) * TVector.Load(gamma + (element - _run));
        v = TVector.LoadFloats(x + element) - shift;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Read<TVector>(nint element, int count, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        // gamma is padded to whole vectors with zeros.
        u = TVector.LoadFloats(dy + element, count) * TVector.Load(gamma + (element - _run));
        v = TVector.First(TVector.LoadFloats(x + element, count) - shift, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence
    {
        TResidence.ReadAhead(x + element);
        TResidence.ReadAhead(dy + element);
    }
}

/// <summary>u = g, v = x̂ = (x − center)·scale + offset with the constants of the element's row, summed down a column: dβ and dγ.</summary>
internal unsafe struct NormalizedGradientTerms(float* x, float* dy, double* center, double* scale, double* offset) : IPairTerms
{
    private nint _row;

    public static bool WithSquares => false;

    public static bool DependsOnRow => true;

    public readonly void MoveToRun(nint start)
    {
    }

    public void MoveToRow(nint row) => _row = row;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        u = TVector.LoadFloats(dy + element);
        v = Normalized(TVector.LoadFloats(x + element));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Read<TVector>(nint element, int count, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        u = TVector.LoadFloats(dy + element, count);
        v = TVector.First(Normalized(TVector.LoadFloats(x + element, count)), count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence
    {
        TResidence.ReadAhead(x + element);
        TResidence.ReadAhead(dy + element);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly TVector Normalized<TVector>(TVector x)
        where TVector : struct, IVector<TVector, double> =>
        TVector.FusedMultiplyAdd(x - TVector.Broadcast(center[_row]), TVector.Broadcast(scale[_row]), TVector.Broadcast(offset[_row]));
}

/// <summary>
/// A parameter per position of a run, in both precisions: runs on the double path take it as the sums did, or what cancels there would
/// leave the difference of two roundings.
/// </summary>
/// <param name="singles">The values as floats; null where the layer has no such parameter.</param>
/// <param name="doubles">The values; whole vectors may be loaded from any of them on.</param>
internal readonly unsafe struct PositionValues(float* singles, double* doubles)
{
    public bool Exist => singles is not null;

    public double* Doubles => doubles;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Load<TVector, T, TAccess>(nint position, TAccess access)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess =>
        typeof(T) == typeof(float) ? access.Load<TVector, T>(singles + position) : TVector.Load((T*)(doubles + position));
}
