using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>What happens per channel around its sums, for a vector of channels at a time.</summary>
internal unsafe interface IChannelFinish
{
    /// <summary>Sets the shifts that the first sums are taken with.</summary>
    void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>;

    /// <summary>Turns sums into results and into the constants of the elementwise pass.</summary>
    /// <param name="channel">The first channel of the vector.</param>
    /// <param name="sums">The sums.</param>
    /// <param name="shifts">The shifts that they were taken with.</param>
    /// <param name="isLast">Whether the sums are not to be taken again.</param>
    /// <returns>False where a shift was too far off, with a better one in its place: sum once more.</returns>
    bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>;
}

/// <summary>Ranges of channels, in whole vectors and one by one at the end. Each channel's bits are the same either way.</summary>
internal static unsafe class ChannelRange
{
    public static void Begin<TFinish, TVector>(TFinish finish, int from, int to, double* shifts)
        where TFinish : struct, IChannelFinish
        where TVector : struct, IVector<TVector, double>
    {
        var channel = from;
        for (; to - channel >= TVector.Count; channel += TVector.Count) BeginVector<TFinish, TVector>(finish, channel, shifts);
        for (; channel < to; channel++) BeginVector<TFinish, Lanes1<double>>(finish, channel, shifts);
    }

    public static bool Finish<TFinish, TVector>(TFinish finish, int from, int to, PairSums sums, double* shifts, bool isLast)
        where TFinish : struct, IChannelFinish
        where TVector : struct, IVector<TVector, double>
    {
        var isFinished = true;
        var channel = from;
        for (; to - channel >= TVector.Count; channel += TVector.Count)
            isFinished &= FinishVector<TFinish, TVector>(finish, channel, sums, shifts, isLast);
        for (; channel < to; channel++) isFinished &= FinishVector<TFinish, Lanes1<double>>(finish, channel, sums, shifts, isLast);
        return isFinished;
    }

    // Entries of compilation: called once per vector, they would otherwise wait long to be optimized.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BeginVector<TFinish, TVector>(TFinish finish, int channel, double* shifts)
        where TFinish : struct, IChannelFinish
        where TVector : struct, IVector<TVector, double> => finish.Begin<TVector>(channel, shifts);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool FinishVector<TFinish, TVector>(TFinish finish, int channel, PairSums sums, double* shifts, bool isLast)
        where TFinish : struct, IChannelFinish
        where TVector : struct, IVector<TVector, double> => finish.Finish<TVector>(channel, sums, shifts, isLast);
}
