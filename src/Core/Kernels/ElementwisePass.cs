using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>Runs an operator over a whole tensor.</summary>
internal static class ElementwisePass
{
    /// <param name="op">The operator.</param>
    /// <param name="view">Layout of the tensors.</param>
    /// <param name="constants">The constants of each channel.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Run<TOperator>(TOperator op, ChannelView view, ChannelConstants constants, ComputeSettings compute)
        where TOperator : struct, IElementwiseOperator
    {
        if (view.Count == 0) return;
        var repeats = view.IsColumns ? new ColumnBlocks(view).Repeats : 1;
        using var repeated = repeats > 1 ? constants.Repeated(repeats) : null;
        if (compute.IsOutOfCache(view)) Run<TOperator, OutOfCache>(op, view, repeated ?? constants, compute);
        else Run<TOperator, InCache>(op, view, repeated ?? constants, compute);
    }

    private static void Run<TOperator, TResidence>(TOperator op, ChannelView view, ChannelConstants constants, ComputeSettings compute)
        where TOperator : struct, IElementwiseOperator
        where TResidence : struct, IResidence
    {
        var kernel = new Elementwise<TOperator, TResidence>(op, view, constants);
        Partition.Run(kernel, kernel.Items, view.Count, compute, isBackwards: true);
    }
}
