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
    /// <param name="kernel">What an item does.</param>
    /// <param name="items">Number of items.</param>
    /// <param name="elements">Size of the work.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="isBackwards">Whether to begin with the last items: what the pass before ended with is still in the caches.</param>
    public static void Run<TKernel>(TKernel kernel, int items, long elements, ComputeSettings compute, bool isBackwards = false)
        where TKernel : struct, IKernel
    {
        var threads = elements < ParallelElements ? 1 : compute.Threads;
        Workers.Run(new KernelWork<TKernel>(kernel, compute.Width), items, threads, compute.Cancellation, isBackwards);
    }

    private readonly struct KernelWork<TKernel>(TKernel kernel, VectorWidth width) : IWork
        where TKernel : struct, IKernel
    {
        public void Run(int item) => VectorWidths.Run(width, kernel, item);
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

    /// <summary>The item whose last element is the n-th to come when a tensor arrives from its beginning to its end.</summary>
    public int InOrderOfMemory(int n)
    {
        var perRun = _view.Channels * _piecesPerRun;
        var (run, channel, piece) = (n / perRun, n % perRun / _piecesPerRun, n % _piecesPerRun);
        return (channel * PerChannel) + (run * _piecesPerRun) + piece;
    }

    /// <summary>The first element of the channel, which is that of its only run where it has one.</summary>
    public nint RunStart(int item) => (nint)Channel(item) * _view.Inner;

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

/// <summary>
/// A tensor with adjacent channels as rows of columns, the last one perhaps shorter, cut into blocks of whole rows. Few channels are
/// repeated side by side until a row is wide enough for vectors: column c then belongs to channel c mod channels.
/// </summary>
internal readonly struct ColumnBlocks
{
    // Enough for the threads to share, few enough for the merging of their partial sums to cost nothing.
    private const int MostBlocks = 32;

    // A few threads share tensors that are smaller than so many items.
    private const int FewBlocks = 4;
    private const int SmallestBlock = 1 << 15;
    private const int MinColumns = 256;

    public ColumnBlocks(ChannelView view, bool mayRepeat = true)
    {
        Repeats = !mayRepeat || view.Channels >= MinColumns ? 1
            : Math.Max(1, (MinColumns + view.Channels - 1) / Math.Max(view.Channels, 1));
        Columns = view.Channels * Repeats;
        Elements = view.Count;
        var rows = (Elements + Columns - 1) / Math.Max(Columns, 1);
        var blocks = Math.Clamp(Math.Max(Math.Min(Elements / SmallestBlock, FewBlocks), Elements / Partition.ItemElements), 1, MostBlocks);
        RowsPerBlock = (int)Math.Max(1, (rows + blocks - 1) / blocks);
        Items = (int)((rows + RowsPerBlock - 1) / RowsPerBlock);
    }

    /// <summary>How often the channels stand side by side in a row.</summary>
    public int Repeats { get; }

    /// <summary>Number of columns of a row: the channels, repeated.</summary>
    public int Columns { get; }

    /// <summary>Number of elements of the tensor.</summary>
    public long Elements { get; }

    public int RowsPerBlock { get; }

    /// <summary>Number of blocks.</summary>
    public int Items { get; }

    /// <summary>First element of a block and the one behind its last.</summary>
    public (nint Start, nint End) Locate(int item)
    {
        var start = (nint)item * RowsPerBlock * Columns;
        return (start, (nint)Math.Min(Elements, start + ((long)RowsPerBlock * Columns)));
    }
}
