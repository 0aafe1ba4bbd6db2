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

/// <summary>The sums of all channels, in parts: several blocks, and in each several columns of the same channel.</summary>
internal readonly record struct SumParts(PairSums First, int Blocks, int Repeats, bool ArePlain);

/// <summary>
/// Merges the parts of the channels' sums in their order, and finishes them. With many channels this takes as long as summing a small
/// batch, so that threads share it: one work item is a range of channels.
/// </summary>
internal static unsafe class Finishing<TFinish>
    where TFinish : struct, IChannelFinish
{
    private const int ItemChannels = 256;

    // What merging one value of one block costs, and finishing a channel, in elements of a sum.
    private const int MergeElements = 8, FinishElements = 64;

    public static void Begin(TFinish finish, int channels, double* shifts, ComputeSettings compute) =>
        VectorWidths.Run(compute.Width, new BeginAll(finish, channels, shifts), 0);

    /// <summary>Whether all channels are finished.</summary>
    public static bool Run(TFinish finish, int channels, SumParts parts, double* shifts, bool isLast, ComputeSettings compute)
    {
        var unfinished = 0;
        var kernel = new FinishRange(finish, channels, parts, shifts, isLast, &unfinished);
        // Channels that are repeated are few.
        var items = parts.Repeats > 1 ? 1 : (channels + kernel.PerItem - 1) / kernel.PerItem;
        Partition.Run(kernel, items, channels * (FinishElements + ((long)MergeElements * parts.Blocks)), compute);
        return unfinished == 0;
    }

    private readonly struct BeginAll(TFinish finish, int channels, double* shifts) : IKernel
    {
        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double> => finish.Begin<TDouble>(0, channels, shifts);
    }

    private readonly struct FinishRange(TFinish finish, int channels, SumParts parts, double* shifts, bool isLast, int* unfinished)
        : IKernel
    {
        public int PerItem { get; } = (ItemChannels + finish.Multiple - 1) / finish.Multiple * finish.Multiple;

        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double>
        {
            var (from, to) = (item * PerItem, Math.Min(channels, (item + 1) * PerItem));
            if (parts.Repeats > 1) to = channels;
            Merge<TDouble>(parts, from, parts.Repeats > 1 ? channels * parts.Repeats : to);
            for (var column = channels; column < channels * parts.Repeats; column++)
            {
                var (sums, sum) = (parts.First, parts.First[column % channels]);
                sum.Add(sums[column]);
                sums[column % channels] = sum;
            }
            if (!finish.Finish<TDouble>(from, to, parts.First, shifts, isLast)) Volatile.Write(ref *unfinished, 1);
        }

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
        private static void Merge<TVector>(SumParts parts, int from, int to)
            where TVector : struct, IVector<TVector, double>
        {
            if (parts.ArePlain) parts.First.ClearLows(from, to);
            for (var block = 1; block < parts.Blocks; block++)
            {
                var other = parts.First.At(block);
                for (var column = from; column < to; column += TVector.Count) parts.First.Add<TVector>(column, other, parts.ArePlain);
            }
        }
    }
}
