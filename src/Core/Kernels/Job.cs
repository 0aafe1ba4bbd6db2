using System.Runtime.ExceptionServices;

namespace BnService.Core.Kernels;

/// <summary>A computation cut into items that can run in any order and on any thread.</summary>
internal interface IWork
{
    void Run(int item);
}

/// <summary>
/// The items of one call. Each thread has a range of them and works through it in order, then takes what others have not begun: from call
/// to call and from pass to pass a thread so finds in its caches what it put there.
/// </summary>
internal abstract class Job(int items, int mostHelpers, bool isBackwards, CancellationToken cancellation)
{
    // Two cache lines for each counter, so that threads do not wait for each other's.
    private const int Spacing = 32;

    private readonly int[] _begun = new int[(mostHelpers + 1) * Spacing];
    private int _joined;
    private int _active;
    private ExceptionDispatchInfo? _failure;

    /// <summary>Works on items, if there are any left and a place is free; whether there was something to do.</summary>
    public bool TryHelp()
    {
        if (!HasItems() || Volatile.Read(ref _joined) >= mostHelpers) return false;
        var thread = Interlocked.Increment(ref _joined);
        if (thread > mostHelpers) return false;
        // Announced before an item is taken: a caller that sees no active helper once all items are taken sees them all done.
        Interlocked.Increment(ref _active);
        Help(thread);
        Interlocked.Decrement(ref _active);
        return true;
    }

    /// <summary>Works on items until none are left, those of the thread's own range first; 0 is the caller.</summary>
    public void Help(int thread)
    {
        for (var i = 0; i <= mostHelpers; i++)
        {
            var range = (thread + i) % (mostHelpers + 1);
            while (Volatile.Read(ref _failure) is null && Take(range) is >= 0 and var item) Try(item);
        }
    }

    /// <summary>Waits for the items that helpers have taken, and throws what the first failed item threw.</summary>
    public void Complete()
    {
        var spin = default(SpinWait);
        while (Volatile.Read(ref _active) > 0) spin.SpinOnce(sleep1Threshold: -1);
        _failure?.Throw();
    }

    protected abstract void Run(int item);

    private void Try(int item)
    {
        try
        {
            cancellation.ThrowIfCancellationRequested();
            Run(item);
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(exception), null);
        }
    }

    // The next item of a range, or −1.
    private int Take(int range)
    {
        var (start, end) = (StartOf(range), StartOf(range + 1));
        ref var begun = ref _begun[range * Spacing];
        // Read first: a finished range is not counted up for ever.
        if (Volatile.Read(ref begun) >= end - start) return -1;
        var index = Interlocked.Increment(ref begun) - 1;
        if (index >= end - start) return -1;
        return isBackwards ? end - 1 - index : start + index;
    }

    private bool HasItems()
    {
        for (var range = 0; range <= mostHelpers; range++)
        {
            if (Volatile.Read(ref _begun[range * Spacing]) < StartOf(range + 1) - StartOf(range)) return true;
        }
        return false;
    }

    private int StartOf(int range) => (int)((long)items * range / (mostHelpers + 1));
}

/// <summary>A job over work of a known type, so that running an item is one call.</summary>
internal sealed class Job<TWork>(TWork work, int items, int mostHelpers, bool isBackwards, CancellationToken cancellation)
    : Job(items, mostHelpers, isBackwards, cancellation)
    where TWork : struct, IWork
{
    protected override void Run(int item) => work.Run(item);
}
