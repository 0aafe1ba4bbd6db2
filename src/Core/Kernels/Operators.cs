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

// y = (x − center) · scale + offset, with center = (float)μ, scale = γ·s and offset = β − (μ − center)·scale.
// Subtracting first costs the same as x·scale + offset and does not lose |μ|·s·2⁻²⁴ to cancellation.

/// <summary>Normalizes, or applies the affine map of the running statistics: the output rule decides what becomes of y.</summary>
internal readonly unsafe struct Affine<TOutput>(float* x, OutputInputs others, float* output) : IElementwiseOperator
    where TOutput : struct, IOutputRule
{
    public static int Constants => 3;

    public float* Output => output;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector center, TVector scale, TVector offset, TVector none)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess
    {
        var y = TVector.FusedMultiplyAdd(access.Load<TVector, T>(x + element) - center, scale, offset);
        return TOutput.Finish<TVector, T, TAccess>(y, access, others, element);
    }

    public void MoveToRun(nint start)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence => TResidence.ReadAhead(x + element);
}

// y = γ[p]·x̂ + β[p] with x̂ = (x − center)·scale + offset, where statistics belong to runs (rows) and gamma and beta to the position p
// within a run (Ba et al. 2016; Zhang & Sennrich 2019). scale comes as the sum of two floats, scale and low: x̂ is then rounded once, and y
// stays within the bound that one map per channel meets. Where both are the runs' own, the map of Affine does it.

/// <summary>Layer and RMS normalization: gamma and perhaps beta per position of a run.</summary>
internal unsafe struct PositionAffine<TOutput>(float* x, PositionValues gamma, PositionValues beta, OutputInputs others, float* output)
    : IElementwiseOperator
    where TOutput : struct, IOutputRule
{
    private nint _run;

    public static int Constants => 4;

    public static bool DependsOnPosition => true;

    public readonly float* Output => output;

    public void MoveToRun(nint start) => _run = start;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly TVector Apply<TVector, T, TAccess>(
        nint element, TAccess access, TVector center, TVector scale, TVector offset, TVector low)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess
    {
        var difference = access.Load<TVector, T>(x + element) - center;
        var y = TVector.FusedMultiplyAdd(difference, scale, TVector.FusedMultiplyAdd(difference, low, offset));
        var shift = beta.Exist ? beta.Load<TVector, T, TAccess>(element - _run, access) : TVector.Zero;
        y = TVector.FusedMultiplyAdd(y, gamma.Load<TVector, T, TAccess>(element - _run, access), shift);
        return TOutput.Finish<TVector, T, TAccess>(y, access, others, element);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence => TResidence.ReadAhead(x + element);
}

/// <summary>dx where gamma belongs to the position: dx = (g·γ[p])·a + ((x − center)·b + c).</summary>
internal unsafe struct PositionInputGradient(float* x, float* dy, PositionValues gamma, float* dx) : IElementwiseOperator
{
    private nint _run;

    public static int Constants => 4;

    public static bool DependsOnPosition => true;

    public readonly float* Output => dx;

    public void MoveToRun(nint start) => _run = start;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector center, TVector a, TVector b, TVector c)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess
    {
        var statistics = TVector.FusedMultiplyAdd(access.Load<TVector, T>(x + element) - center, b, c);
        var weighted = access.Load<TVector, T>(dy + element) * gamma.Load<TVector, T, TAccess>(element - _run, access);
        return TVector.FusedMultiplyAdd(weighted, a, statistics);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence
    {
        TResidence.ReadAhead(x + element);
        TResidence.ReadAhead(dy + element);
    }
}
