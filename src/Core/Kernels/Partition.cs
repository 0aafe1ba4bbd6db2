using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>
/// The parallel split. How a tensor is cut into work items depends on its shape alone, never on the number of threads or the load:
/// partial sums are the same and are merged in the same order, so the same request gives the same bits.
/// </summary>
internal static class Partition
{
    /// <summary>Elements of one work item: 256 KiB of floats, a part of the second-level cache.</summary>
    public const int ItemElements = 1 << 16;

    // Below this much work waking another thread costs more than it saves.
    private const int ParallelElements = 1 << 15;

    /// <summary>Runs <paramref name="kernel"/> for the items 0 … <paramref name="items"/> − 1, in any order and on any thread.</summary>
    public static void Run<TKernel>(TKernel kernel, int items, long elements, ComputeSettings compute)
        where TKernel : struct, IKernel
    {
        if (compute.Threads == 1 || items == 1 || elements < ParallelElements)
        {
            for (var item = 0; item < items; item++) VectorWidths.Run(compute.Width, kernel, item);
            return;
        }
        Parallel.For(0, items, new ParallelOptions { MaxDegreeOfParallelism = compute.Threads },
            item => VectorWidths.Run(compute.Width, kernel, item));
    }
}

/// <summary>
/// The runs of one channel, cut into segments of about <see cref="Partition.ItemElements"/>: several whole runs where runs are short,
/// a piece of one run where they are long.
/// </summary>
internal readonly struct RowSegments
{
    private readonly ChannelView _view;
    private readonly int _piecesPerRun;
    private readonly int _runsPerSegment;

    public RowSegments(ChannelView view)
    {
        _view = view;
        _piecesPerRun = Math.Max(1, (int)(((long)view.Inner + Partition.ItemElements - 1) / Partition.ItemElements));
        _runsPerSegment = Math.Max(1, Partition.ItemElements / Math.Max(view.Inner, 1));
        PerChannel = _piecesPerRun > 1 ? view.Outer * _piecesPerRun : (view.Outer + _runsPerSegment - 1) / _runsPerSegment;
    }

    /// <summary>Number of segments of each channel.</summary>
    public int PerChannel { get; }

    /// <summary>Number of segments of the tensor; item = channel · <see cref="PerChannel"/> + segment.</summary>
    public int Items => PerChannel * _view.Channels;

    public int Channel(int item) => item / PerChannel;

    /// <summary>The first element of the item's first run, the length of each of its runs, how many they are and how far apart.</summary>
    public (nint Start, int Length, int Runs, nint Stride) Locate(int item)
    {
        var (channel, segment) = (Channel(item), item % PerChannel);
        var stride = (nint)_view.Channels * _view.Inner;
        var channelStart = (nint)channel * _view.Inner;
        if (_piecesPerRun == 1)
        {
            var first = segment * _runsPerSegment;
            return (channelStart + (first * stride), _view.Inner, Math.Min(_runsPerSegment, _view.Outer - first), stride);
        }
        var (run, piece) = (segment / _piecesPerRun, segment % _piecesPerRun);
        var offset = piece * Partition.ItemElements;
        return (channelStart + (run * stride) + offset, Math.Min(Partition.ItemElements, _view.Inner - offset), 1, stride);
    }
}

/// <summary>The rows of a tensor with adjacent channels, cut into blocks of about <see cref="Partition.ItemElements"/>.</summary>
internal readonly struct ColumnBlocks
{
    private readonly int _rows;

    public ColumnBlocks(ChannelView view)
    {
        _rows = view.Outer;
        RowsPerBlock = Math.Max(MinRows, Partition.ItemElements / Math.Max(view.Channels, 1));
        Items = (int)(((long)view.Outer + RowsPerBlock - 1) / RowsPerBlock);
    }

    // Partial sums take 32 bytes per channel and block: with so many rows they stay a sixteenth of the tensor.
    private const int MinRows = 128;

    public int RowsPerBlock { get; }

    /// <summary>Number of blocks.</summary>
    public int Items { get; }

    public (int Start, int End) Rows(int item) => (item * RowsPerBlock, (int)Math.Min(_rows, (long)(item + 1) * RowsPerBlock));
}
