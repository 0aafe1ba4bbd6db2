using System.Runtime.CompilerServices;

namespace BnService.Core.Normalizers;

/// <summary>Adjacent elements of a float64 tensor, and where their statistics, gamma and beta are: the same for all, or one after the other.</summary>
/// <param name="Start">The first element.</param>
/// <param name="Length">How many.</param>
/// <param name="Statistic">The statistic of the first one.</param>
/// <param name="StatisticStep">1 where each element has a statistic of its own, else 0.</param>
/// <param name="Parameter">The gamma and beta of the first one.</param>
/// <param name="ParameterStep">1 where each element has a gamma and beta of its own, else 0.</param>
internal readonly record struct Float64Block(int Start, int Length, int Statistic, int StatisticStep, int Parameter, int ParameterStep)
{
    /// <summary>The most elements of a block.</summary>
    public const int Most = 512;

    /// <summary>The blocks of a tensor in memory order: every layout and kind in one form.</summary>
    /// <param name="plan">How the tensor is laid out.</param>
    /// <param name="cancellation">Ends the computation early.</param>
    public static IEnumerable<Float64Block> Of(Layout plan, CancellationToken cancellation)
    {
        for (var slice = 0; slice < plan.Slices; slice++)
        {
            cancellation.ThrowIfCancellationRequested();
            var (start, view) = plan.Slice(slice);
            // Channels are counted from the first one of the tensor, so that samples that lie in slices of their own have their own statistics.
            var first = (long)slice * plan.View.Channels;
            var isColumns = view.IsColumns && plan.Reduction != Reduction.Rows;
            for (var outer = 0; outer < view.Outer; outer++)
            {
                for (int channel = 0, length; channel < view.Channels; channel += isColumns ? length : 1)
                {
                    var block = OfChannel(plan, first + channel);
                    length = isColumns ? Together(plan, block, view.Channels - channel) : view.Inner;
                    for (var done = 0; done < length; done += Most)
                    {
                        yield return block with
                        {
                            Start = start + done,
                            Length = Math.Min(Most, length - done),
                            Statistic = block.Statistic + (done * block.StatisticStep),
                            Parameter = block.Parameter + (done * block.ParameterStep),
                        };
                    }
                    start += length;
                }
            }
        }
    }

    /// <summary>The statistic of an element of the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int StatisticOf(int element) => Statistic + (element * StatisticStep);

    /// <summary>The gamma and beta of an element of the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int ParameterOf(int element) => Parameter + (element * ParameterStep);

    private static Float64Block OfChannel(Layout plan, long channel) => plan.Reduction == Reduction.Rows
        ? new(0, 0, (int)channel, 0, 0, 1)
        : new(0, 0, (int)(channel / plan.ChannelsPerStatistic), plan.View.IsColumns && plan.ChannelsPerStatistic == 1 ? 1 : 0,
            (int)(channel % plan.Parameters), plan.View.IsColumns && plan.Parameters > 1 ? 1 : 0);

    // Adjacent channels up to where a new group, or the first gamma, begins.
    private static int Together(Layout plan, Float64Block block, int channels)
    {
        if (plan.Parameters > 1) channels = Math.Min(channels, plan.Parameters - block.Parameter);
        return plan.ChannelsPerStatistic == 1 ? channels : Math.Min(channels, plan.ChannelsPerStatistic - (block.Parameter % plan.ChannelsPerStatistic));
    }
}
