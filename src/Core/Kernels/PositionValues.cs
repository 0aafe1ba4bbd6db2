using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

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
