using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

// y = (x − center) · scale + offset, with center = (float)μ, scale = γ·s and offset = β − (μ − center)·scale.
// Subtracting first costs the same as x·scale + offset and does not lose |μ|·s·2⁻²⁴ to cancellation.

/// <summary>Normalizes, or applies the affine map of the running statistics: the output rule decides what becomes of y.</summary>
internal readonly unsafe struct Affine<TOutput>(float* x, float* other, float* output) : IElementwiseOperator
    where TOutput : struct, IAffineOutput
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
        return TOutput.Finish<TVector, T, TAccess>(y, access, other + element);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence => TResidence.ReadAhead(x + element);
}

/// <summary>What is written, given the affine map's value and, where the rule needs one, another tensor.</summary>
internal unsafe interface IAffineOutput
{
    static abstract TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, float* other)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess;
}

/// <summary>y.</summary>
internal readonly unsafe struct PlainOutput : IAffineOutput
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, float* other)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => y;
}

/// <summary>relu(y); NaN stays NaN.</summary>
internal readonly unsafe struct RectifiedOutput : IAffineOutput
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, float* other)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => TVector.Gate(y, y);
}

/// <summary>
/// The gradient before relu: other (dy) where y &gt; 0, else 0. y is computed again, from the same numbers and so to the same bits
/// as in the forward pass.
/// </summary>
internal readonly unsafe struct GatedGradient : IAffineOutput
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, float* other)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => TVector.Gate(y, access.Load<TVector, T>(other));
}
