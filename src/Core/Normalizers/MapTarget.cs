using System.Runtime.CompilerServices;
using BnService.Core.Kernels;
using BnService.Core.Simd;

namespace BnService.Core.Normalizers;

/// <summary>
/// Where the affine maps of channels go, and what they are made of beside statistics:
/// y = (x − center)·scale + offset, with center = (float)μ, scale = γ·s, s = 1/√(σ² + ε), offset = β − (μ − center)·scale.
/// </summary>
/// <param name="Constants">Receives the maps; null where none are wanted.</param>
/// <param name="Gamma">γ; null for 1.</param>
/// <param name="Beta">β; null for 0.</param>
/// <param name="Eps">ε.</param>
/// <param name="Period">After how many channels gamma and beta begin again.</param>
/// <param name="SplitsScale">
/// Whether scale is split into two floats, the second one as a fourth constant: for kinds that multiply once more by a gamma per position.
/// </param>
internal readonly unsafe record struct MapTarget(
    ChannelConstants? Constants, double[]? Gamma, double[]? Beta, double Eps, int Period, bool SplitsScale = false)
{
    public const int Center = 0, Scale = 1, Offset = 2, ScaleLow = 3;

    // Beyond it |x − center| can pass float's range although x and center do not: half a unit in the last place of float.MaxValue.
    private const double LargestCenter = 1e31;

    /// <summary>Number of constants of a channel.</summary>
    public static int KindsOf(bool splitsScale) => splitsScale ? 4 : 3;

    /// <summary>Sets the maps of a vector of channels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Set<TVector>(
        ChannelConstants constants, int channel, TVector mean, TVector meanResidual, TVector variance, TVector gamma, TVector beta, double eps,
        bool splitsScale)
        where TVector : struct, IVector<TVector, double>
    {
        var center = CenterOf(mean);
        var scale = gamma * InverseDeviation(variance, eps);
        var offset = beta - (((mean - center) + meanResidual) * scale);
        constants.Set(Center, channel, center);
        if (splitsScale)
        {
            // A scale out of float's range stays whole, and is on the double path.
            var high = CenterOf(scale);
            constants.Set(ScaleLow, channel, scale - high);
            scale = high;
        }
        constants.Set(Scale, channel, scale);
        constants.Set(Offset, channel, offset);
        constants.RequireDouble(channel, IsLarge(center));
    }

    /// <summary>γ and β of a vector of channels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public (TVector Gamma, TVector Beta) Parameters<TVector>(int channel)
        where TVector : struct, IVector<TVector, double>
    {
        fixed (double* gammas = Gamma, betas = Beta)
            return (Lanes.LoadOr<TVector>(gammas, channel % Period, 1), Lanes.LoadOr<TVector>(betas, channel % Period, 0));
    }

    /// <summary>s = 1/√(variance + ε); 0 where both are 0, so that a constant channel is normalized to exactly 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector InverseDeviation<TVector>(TVector variance, double eps)
        where TVector : struct, IVector<TVector, double>
    {
        var sum = variance + TVector.Broadcast(eps);
        return TVector.Choose(Lanes.IsZero(sum), TVector.Zero, TVector.Broadcast(1) / TVector.Sqrt(sum));
    }

    /// <summary>(float)μ; where that overflows μ itself, which puts the channel on the double path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector CenterOf<TVector>(TVector mean)
        where TVector : struct, IVector<TVector, double>
    {
        var rounded = TVector.RoundToSingle(mean);
        return TVector.Choose(Lanes.IsFinite(rounded), rounded, mean);
    }

    /// <summary>A mask of the centers from which on a channel needs the double path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector IsLarge<TVector>(TVector center)
        where TVector : struct, IVector<TVector, double> => TVector.LessThan(TVector.Broadcast(LargestCenter), TVector.Abs(center));
}
