using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

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
