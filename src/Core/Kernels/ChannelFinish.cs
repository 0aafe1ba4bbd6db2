using System.Runtime.CompilerServices;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>What happens per channel around its sums, for ranges of channels.</summary>
internal unsafe interface IChannelFinish
{
    /// <summary>Ranges begin at multiples of this: so many adjacent channels are finished together.</summary>
    int Multiple { get; }

    /// <summary>Sets the shifts that the first sums of a range are taken with.</summary>
    void Begin<TVector>(int from, int to, double* shifts)
        where TVector : struct, IVector<TVector, double>;

    /// <summary>Turns the sums of a range into results and into the constants of the elementwise pass.</summary>
    /// <param name="from">The first channel.</param>
    /// <param name="to">The channel behind the last one.</param>
    /// <param name="sums">The sums.</param>
    /// <param name="shifts">The shifts that they were taken with.</param>
    /// <param name="isLast">Whether the sums are not to be taken again.</param>
    /// <returns>False where a shift was too far off, with a better one in its place: sum once more.</returns>
    bool Finish<TVector>(int from, int to, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>;
}

/// <summary>A finish that treats every channel by itself, and so a vector of them at a time.</summary>
internal unsafe interface IVectorFinish
{
    /// <summary>After how many channels gamma and beta begin again: no vector spans that.</summary>
    int Period { get; }

    void Begin<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>;

    bool Finish<TVector>(int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>;
}

/// <summary>Finishes in whole vectors, and one by one what is left. Each channel's bits are the same either way.</summary>
internal readonly unsafe struct ByVectors<TFinish>(TFinish finish) : IChannelFinish
    where TFinish : struct, IVectorFinish
{
    public int Multiple => 1;

    public void Begin<TVector>(int from, int to, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        var channel = from;
        for (; to - channel >= TVector.Count; channel += TVector.Count) BeginVector<TVector>(finish, channel, shifts);
        for (; channel < to; channel++) BeginVector<Lanes1<double>>(finish, channel, shifts);
    }

    public bool Finish<TVector>(int from, int to, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double>
    {
        var isFinished = true;
        for (var channel = from; channel < to;)
        {
            if (to - channel >= TVector.Count && finish.Period - (channel % finish.Period) >= TVector.Count)
            {
                isFinished &= FinishVector<TVector>(finish, channel, sums, shifts, isLast);
                channel += TVector.Count;
            }
            else
            {
                isFinished &= FinishVector<Lanes1<double>>(finish, channel, sums, shifts, isLast);
                channel++;
            }
        }
        return isFinished;
    }

    // Entries of compilation: called once per vector, they would otherwise wait long to be optimized.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BeginVector<TVector>(TFinish finish, int channel, double* shifts)
        where TVector : struct, IVector<TVector, double> => finish.Begin<TVector>(channel, shifts);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool FinishVector<TVector>(TFinish finish, int channel, PairSums sums, double* shifts, bool isLast)
        where TVector : struct, IVector<TVector, double> => finish.Finish<TVector>(channel, sums, shifts, isLast);
}
