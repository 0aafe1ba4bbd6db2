using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>Tensors that an output rule may read beside the normalized value; null where it reads none.</summary>
internal readonly unsafe record struct OutputInputs(nint Residual, nint Gradient)
{
    public OutputInputs(float* residual, float* gradient)
        : this((nint)residual, (nint)gradient)
    {
    }

    /// <summary>The same tensors from an element on.</summary>
    public OutputInputs From(int element) => new(
        Residual == 0 ? 0 : Residual + ((nint)element * sizeof(float)), Gradient == 0 ? 0 : Gradient + ((nint)element * sizeof(float)));
}

/// <summary>What is written, given the normalized value y and, where the rule needs them, other tensors.</summary>
internal unsafe interface IOutputRule
{
    static abstract TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, OutputInputs others, nint element)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess;
}

/// <summary>y.</summary>
internal readonly unsafe struct PlainOutput : IOutputRule
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, OutputInputs others, nint element)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => y;
}

/// <summary>relu(y); NaN stays NaN.</summary>
internal readonly unsafe struct RectifiedOutput : IOutputRule
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, OutputInputs others, nint element)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => TVector.Gate(y, y);
}

/// <summary>
/// The gradient before relu: the one behind it where y &gt; 0, else 0. y is computed again, from the same numbers and so to the same bits
/// as in the forward pass.
/// </summary>
internal readonly unsafe struct GatedGradient : IOutputRule
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, OutputInputs others, nint element)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess => TVector.Gate(y, access.Load<TVector, T>((float*)others.Gradient + element));
}

/// <summary>Another rule after a residual has been added: y + residual (He et al. 2016).</summary>
internal readonly unsafe struct WithResidual<TRule> : IOutputRule
    where TRule : struct, IOutputRule
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Finish<TVector, T, TAccess>(TVector y, TAccess access, OutputInputs others, nint element)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess =>
        TRule.Finish<TVector, T, TAccess>(y + access.Load<TVector, T>((float*)others.Residual + element), access, others, element);
}

/// <summary>Work that is compiled once per output rule.</summary>
internal interface IRuleWork
{
    void Run<TRule>()
        where TRule : struct, IOutputRule;
}

/// <summary>The one place that chooses a rule.</summary>
internal static class OutputRules
{
    /// <param name="others">Tells by what is there whether a residual is added, and whether a gradient goes back through relu.</param>
    /// <param name="isRectified">Whether relu follows.</param>
    /// <param name="work">What is done with the rule.</param>
    public static void Run<TWork>(OutputInputs others, bool isRectified, TWork work)
        where TWork : struct, IRuleWork
    {
        var hasResidual = others.Residual != 0;
        if (others.Gradient != 0) Run<TWork, GatedGradient>(hasResidual, work);
        else if (isRectified) Run<TWork, RectifiedOutput>(hasResidual, work);
        else Run<TWork, PlainOutput>(hasResidual, work);
    }

    private static void Run<TWork, TRule>(bool hasResidual, TWork work)
        where TWork : struct, IRuleWork
        where TRule : struct, IOutputRule
    {
        if (hasResidual) work.Run<WithResidual<TRule>>();
        else work.Run<TRule>();
    }
}
