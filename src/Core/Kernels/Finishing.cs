using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>The sums of all channels, in parts: several blocks, and in each several columns of the same channel.</summary>
/// <param name="First">The first block, into which the others are merged.</param>
/// <param name="Blocks">Number of blocks.</param>
/// <param name="Repeats">How often the channels stand side by side.</param>
/// <param name="ArePlain">Whether nothing of the sums is left over yet.</param>
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

    private readonly struct FinishRange(TFinish finish, int channels, SumParts parts, double* shifts, bool isLast, int* unfinished) : IKernel
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
