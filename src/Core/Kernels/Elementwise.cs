using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>What an elementwise kernel computes for a vector of elements, given the constants of their channels.</summary>
internal unsafe interface IElementwiseOperator
{
    /// <summary>Number of constants per channel, 1 to 4; those beyond it are zero.</summary>
    static abstract int Constants { get; }

    /// <summary>Whether an element's result depends on where in its run it stands, so that no vector may span two runs.</summary>
    static virtual bool DependsOnPosition => false;

    /// <summary>Where the first element's result goes.</summary>
    float* Output { get; }

    TVector Apply<TVector, T, TAccess>(nint element, TAccess access, TVector c0, TVector c1, TVector c2, TVector c3)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
        where TAccess : struct, IAccess;

    /// <summary>Called before elements of a run are computed, with the run's first element.</summary>
    void MoveToRun(nint start);

    /// <summary>Asks for the inputs of an element ahead of time.</summary>
    void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence;
}

// Runs an operator over all elements in the order of memory, in both memory shapes:
//
//   rows     (outer, channels, inner): the constants of a channel are broadcast for each of its runs;
//   columns  rows × columns:           the constants are loaded along with the elements, one row after the other.
//
// A channel that asks for double gets it. With adjacent channels the whole tensor does, since a vector spans many of them: this is
// for inputs near float's range, where being right matters and being fast does not.

/// <summary>
/// The driver of all elementwise kernels; one work item is a stretch of memory, of whole rows where channels are adjacent.
/// </summary>
internal readonly struct Elementwise<TOperator, TResidence>(TOperator op, ChannelView view, ChannelConstants constants) : IKernel
    where TOperator : struct, IElementwiseOperator
    where TResidence : struct, IResidence
{
    private readonly ColumnBlocks _blocks = new(view);

    public int Items => view.IsColumns ? _blocks.Items : (int)((view.Count + Partition.ItemElements - 1) / Partition.ItemElements);

    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        var first = (nint)item * Partition.ItemElements;
        var (start, end) = view.IsColumns ? _blocks.Locate(item) : (first, (nint)Math.Min(view.Count, first + Partition.ItemElements));
        Stretch<TSingle, TDouble>(start, end);
    }

    /// <summary>The elements from <paramref name="start"/> to <paramref name="end"/>, which may be any.</summary>
    public void Stretch<TSingle, TDouble>(nint start, nint end)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>
    {
        if (!view.IsColumns) RunsSweep<TOperator, TResidence>.Stretch<TSingle, TDouble>(op, view, start, end, constants, ahead: 0);
        else if (constants.AnyNeedsDouble) Columns<TDouble, double>(start, end);
        else Columns<TSingle, float>(start, end);
        TResidence.Fence();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Columns<TVector, T>(nint start, nint end)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        var (inputs, columns) = (op, _blocks.Columns);
        for (var column = (int)(start % columns); start < end; column = 0)
        {
            var width = (int)Math.Min(columns - column, end - start);
            ElementwiseSweep<TOperator, TResidence>.Run<TVector, T, ColumnConstants<TOperator, TVector, T>>(
                inputs, start, width, new(constants, column));
            start += width;
        }
    }
}

/// <summary>One stretch of a tensor as a kernel of its own.</summary>
internal readonly struct ElementwiseStretch<TOperator>(TOperator op, ChannelView view, ChannelConstants constants, nint start, nint end)
    : IKernel
    where TOperator : struct, IElementwiseOperator
{
    private readonly Elementwise<TOperator, InCache> _whole = new(op, view, constants);

    public void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double> => _whole.Stretch<TSingle, TDouble>(start, end);
}

/// <summary>Runs an operator over a whole tensor.</summary>
internal static class ElementwisePass
{
    public static void Run<TOperator>(TOperator op, ChannelView view, ChannelConstants constants, ComputeSettings compute)
        where TOperator : struct, IElementwiseOperator
    {
        if (view.Count == 0) return;
        var fitting = constants.For(view);
        using var repeated = ReferenceEquals(fitting, constants) ? null : fitting;
        if (compute.IsOutOfCache(view)) Run<TOperator, OutOfCache>(op, view, fitting, compute);
        else Run<TOperator, InCache>(op, view, fitting, compute);
    }

    private static void Run<TOperator, TResidence>(TOperator op, ChannelView view, ChannelConstants constants, ComputeSettings compute)
        where TOperator : struct, IElementwiseOperator
        where TResidence : struct, IResidence
    {
        var kernel = new Elementwise<TOperator, TResidence>(op, view, constants);
        Partition.Run(kernel, kernel.Items, view.Count, compute, isBackwards: true);
    }
}
