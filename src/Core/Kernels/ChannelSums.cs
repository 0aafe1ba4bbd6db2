using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>Sums every channel of a tensor that is there as a whole.</summary>
internal static class ChannelSums
{
    /// <summary>Sums until every channel is finished: a second time where a shift was too far off.</summary>
    public static void Run<TTerms, TFinish>(TTerms terms, TFinish finish, ChannelView view, ComputeSettings compute)
        where TTerms : struct, IPairTerms
        where TFinish : struct, IChannelFinish
    {
        if (view.Count == 0) return;
        using var sums = new ChannelSums<TTerms, TFinish>(terms, finish, view);
        sums.Begin(compute);
        sums.Finish(0, compute);
    }
}

/// <summary>
/// Σu, Σu·v and, where wanted, Σu² of every channel: the parts are summed in parallel and merged in their order. Parts whose elements
/// are there can be summed before the others are: the bits are the same.
/// </summary>
internal sealed unsafe class ChannelSums<TTerms, TFinish> : IDisposable
    where TTerms : struct, IPairTerms
    where TFinish : struct, IChannelFinish
{
    private readonly TTerms _terms;
    private readonly TFinish _finish;
    private readonly ChannelView _view;
    private readonly RowSegments _segments;
    private readonly ColumnBlocks _blocks;
    private readonly NativeBuffer _memory;
    private readonly double* _shifts;
    private readonly PairSums _sums;
    private readonly PairSum* _partials;
    private readonly int _padded;

    public ChannelSums(TTerms terms, TFinish finish, ChannelView view)
    {
        (_terms, _finish, _view) = (terms, finish, view);
        if (view.IsColumns)
        {
            _blocks = new ColumnBlocks(view, mayRepeat: !TTerms.DependsOnRow);
            _padded = PairSums.Padded(_blocks.Columns);
            _memory = NativeBuffer.Rent((PairSums.Bytes(_blocks.Columns) * _blocks.Items) + (_padded * sizeof(double)));
        }
        else
        {
            _segments = new RowSegments(view);
            _padded = PairSums.Padded(view.Channels);
            _memory = NativeBuffer.Rent(
                PairSums.Bytes(view.Channels) + (_padded * sizeof(double)) + ((long)_segments.Items * sizeof(PairSum)));
        }
        _shifts = (double*)_memory.Pointer;
        _sums = new PairSums(_shifts + _padded, _padded);
        _partials = (PairSum*)(_shifts + _padded + (PairSums.Bytes(view.Channels) / sizeof(double)));
    }

    /// <summary>Number of parts.</summary>
    public int Parts => _view.IsColumns ? _blocks.Items : _segments.Items;

    /// <summary>The element behind the last one that a part reads; parts are in the order in which that grows.</summary>
    public nint EndOf(int part)
    {
        if (_view.IsColumns) return _blocks.Locate(part).End;
        var (start, length, runs, stride) = _segments.Locate(_segments.InOrderOfMemory(part));
        return start + ((runs - 1) * stride) + length;
    }

    /// <summary>Takes the shifts, from the first values of each channel.</summary>
    public void Begin(ComputeSettings compute)
    {
        Finishing<TFinish>.Begin(_finish, _view.Channels, _shifts, compute);
        RepeatShifts();
    }

    /// <summary>Sums one part, on this thread.</summary>
    public void Sum(int part, ComputeSettings compute)
    {
        if (_view.IsColumns) VectorWidths.Run(compute.Width, new ColumnSums<TTerms, InCache>(_terms, _blocks, _shifts, _sums), part);
        else
        {
            VectorWidths.Run(compute.Width, new RowSums<TTerms, InCache>(_terms, _segments, _shifts, _partials),
                _segments.InOrderOfMemory(part));
        }
    }

    /// <summary>Sums what is left, and finishes.</summary>
    public void Finish(int summed, ComputeSettings compute)
    {
        var isOutOfCache = compute.IsOutOfCache(_view);
        for (var isLast = false; ; isLast = true)
        {
            if (isOutOfCache) SumFrom<OutOfCache>(summed, compute);
            else SumFrom<InCache>(summed, compute);
            if (Finishing<TFinish>.Run(_finish, _view.Channels, Merged(), _shifts, isLast, compute)) return;
            RepeatShifts();
            summed = 0;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private void SumFrom<TResidence>(int part, ComputeSettings compute)
        where TResidence : struct, IResidence
    {
        var left = _view.Count / Math.Max(Parts, 1) * (Parts - part);
        if (_view.IsColumns)
            Partition.Run(new Later<ColumnSums<TTerms, TResidence>>(new(_terms, _blocks, _shifts, _sums), part, default), Parts - part,
                left, compute);
        else
            Partition.Run(new Later<RowSums<TTerms, TResidence>>(new(_terms, _segments, _shifts, _partials), part, _segments),
                Parts - part, left, compute);
    }

    private SumParts Merged()
    {
        if (_view.IsColumns) return new(_sums, _blocks.Items, _blocks.Repeats, ColumnSums<TTerms, InCache>.IsPlain(_blocks));
        var sums = _sums;
        for (var c = 0; c < _view.Channels; c++)
        {
            var sum = _partials[c * _segments.PerChannel];
            for (var part = 1; part < _segments.PerChannel; part++) sum.Add(_partials[(c * _segments.PerChannel) + part]);
            sums[c] = sum;
        }
        return new(sums, 1, 1, ArePlain: false);
    }

    private void RepeatShifts()
    {
        for (var column = _view.Channels; _view.IsColumns && column < _padded; column++) _shifts[column] = _shifts[column - _view.Channels];
    }

    // Without parts before them rows are summed channel by channel: what a thread then reads lies together.
    private readonly struct Later<TKernel>(TKernel kernel, int first, RowSegments order) : IKernel
        where TKernel : struct, IKernel
    {
        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double> =>
            kernel.Run<TSingle, TDouble>(first == 0 || order.Items == 0 ? first + item : order.InOrderOfMemory(first + item));
    }
}
