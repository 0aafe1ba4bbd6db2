using BnService.Core.Kernels;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>What is done with each slice of a tensor.</summary>
internal interface ISliceWork
{
    /// <summary>Works on one slice.</summary>
    void Run(int start, ChannelView view, int statistic, ComputeSettings compute);
}

/// <summary>The slices of a plan: large ones one after the other, on all threads; small ones side by side, a thread each.</summary>
internal static class Slices
{
    public static void Run<TWork>(Layout plan, TWork work, ComputeSettings compute)
        where TWork : struct, ISliceWork
    {
        // Whether it lives in the caches is a matter of the whole tensor.
        var isOutOfCache = compute.IsOutOfCache(plan.View with { Outer = plan.View.Outer * plan.Slices });
        var each = compute with { OutOfCacheBytes = isOutOfCache ? 0 : long.MaxValue };
        var areSmall = plan.Slices > 1 && plan.View.Count < Partition.ItemElements;
        if (areSmall)
            Workers.Run(new SliceItems<TWork>(plan, work, each with { Threads = 1 }), plan.Slices, compute.Threads, compute.Cancellation);
        else for (var slice = 0; slice < plan.Slices; slice++) new SliceItems<TWork>(plan, work, each).Run(slice);
    }

    private readonly struct SliceItems<TWork>(Layout plan, TWork work, ComputeSettings compute) : IWork
        where TWork : struct, ISliceWork
    {
        public void Run(int item)
        {
            var (start, view) = plan.Slice(item);
            work.Run(start, view, (int)((long)item * plan.View.Channels / plan.ChannelsPerStatistic), compute);
        }
    }
}
