using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// Training:  dx = γ·s·[g − dβ/m − x̂·dγ/m] = g·a + ((x − center)·b + c)
//            a = γ·s,  b = −a·s·dγ/m,  c = −a·dβ/m − b·(μ − center),  center = (float)μ, all prepared in double.
// Inference: dx = g·a, since the running statistics are constants.

/// <summary>dx of a batch that was normalized with its own statistics.</summary>
internal readonly unsafe struct TrainingInputGradient(float* x, float* dy, float* dx) : IElementwiseOperator
{
    public static int Constants => 4;

    public float* Output => dx;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector center, TVector a, TVector b, TVector c)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess
    {
        var statistics = TVector.FusedMultiplyAdd(access.Load<TVector, T>(x + element) - center, b, c);
        return TVector.FusedMultiplyAdd(access.Load<TVector, T>(dy + element), a, statistics);
    }

    public void MoveToRun(nint start)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence
    {
        TResidence.ReadAhead(x + element);
        TResidence.ReadAhead(dy + element);
    }
}

/// <summary>dx of a batch that was normalized with statistics which do not depend on it.</summary>
internal readonly unsafe struct InferenceInputGradient(float* dy, float* dx) : IElementwiseOperator
{
    public static int Constants => 1;

    public float* Output => dx;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector a, TVector c1, TVector c2, TVector c3)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess =>
        TVector.FusedMultiplyAdd(access.Load<TVector, T>(dy + element), a, TVector.Zero);

    public void MoveToRun(nint start)
    {
    }

    // The next sums need x as well, which this operator does not read.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence => TResidence.ReadAhead(dy + element);
}

/// <summary>dx = g·scale with the scale of an affine map.</summary>
internal readonly unsafe struct ScaledGradient(float* dy, float* dx) : IElementwiseOperator
{
    public static int Constants => 2;

    public float* Output => dx;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector center, TVector scale, TVector c2, TVector c3)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => access.Load<TVector, T>(dy + element) * scale;

    public void MoveToRun(nint start)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence => TResidence.ReadAhead(dy + element);
}
