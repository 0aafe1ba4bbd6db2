using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core;

/// <summary>With what a computation runs. The result is the same, bit for bit, for any number of threads.</summary>
/// <param name="Width">Width of the vectors.</param>
/// <param name="Threads">The largest number of threads that work on one tensor, 1 or more.</param>
public sealed record ComputeSettings(VectorWidth Width, int Threads)
{
    /// <summary>
    /// Ends the computation early, with an <see cref="OperationCanceledException"/>; what it has written by then is undefined.
    /// </summary>
    public CancellationToken Cancellation { get; init; }

    // From this many bytes of a tensor on it is taken to live out of the caches: measured, streaming loses in cache and wins out of it.
    internal long OutOfCacheBytes { get; init; } = 8L << 20;

    /// <summary>The widest vectors of this machine and all its cores.</summary>
    public static ComputeSettings Default { get; } = new(VectorWidths.Widest, Environment.ProcessorCount);

    internal bool IsOutOfCache(ChannelView view) => view.Count * sizeof(float) >= OutOfCacheBytes;
}
