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

/// <summary>The driver of all elementwise kernels; one work item is a stretch of memory, of whole rows where channels are adjacent.</summary>
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
        if (!view.IsColumns)
        {
            var start = (nint)item * Partition.ItemElements;
            var end = (nint)Math.Min(view.Count, start + Partition.ItemElements);
            RunsSweep<TOperator, TResidence>.Stretch<TSingle, TDouble>(op, view, start, end, constants, ahead: 0);
        }
        else if (constants.AnyNeedsDouble) Columns<TDouble, double>(item);
        else Columns<TSingle, float>(item);
        TResidence.Fence();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Columns<TVector, T>(int item)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged
    {
        var (start, end) = _blocks.Locate(item);
        var (inputs, columns) = (op, _blocks.Columns);
        var perColumn = new ColumnConstants<TOperator, TVector, T>(constants);
        for (; start < end; start += columns)
        {
            var width = (int)Math.Min(columns, end - start);
            ElementwiseSweep<TOperator, TResidence>.Run<TVector, T, ColumnConstants<TOperator, TVector, T>>(inputs, start, width, perColumn);
        }
    }
}
