using System.Runtime.ExceptionServices;

namespace BnService.Core.Kernels;

/// <summary>A computation cut into items that can run in any order and on any thread.</summary>
internal interface IWork
{
    void Run(int item);
}

/// <summary>The items of one call, handed out one by one to the caller and its helpers.</summary>
/// <param name="items">Number of items.</param>
/// <param name="mostHelpers">The most threads beside the caller.</param>
/// <param name="cancellation">Ends the job between two items.</param>
internal abstract class Job(int items, int mostHelpers, CancellationToken cancellation)
{
    private int _next;
    private int _joined;
    private int _active;
    private ExceptionDispatchInfo? _failure;

    /// <summary>Works on items, if there are any left and a place is free; whether there was something to do.</summary>
    public bool TryHelp()
    {
        if (Volatile.Read(ref _next) >= items || Interlocked.Increment(ref _joined) > mostHelpers) return false;
        // Announced before an item is taken: a caller that sees no active helper once all items are taken sees them all done.
        Interlocked.Increment(ref _active);
        Help();
        Interlocked.Decrement(ref _active);
        return true;
    }

    /// <summary>Works on items until none are left.</summary>
    public void Help()
    {
        int item;
        while ((item = Interlocked.Increment(ref _next) - 1) < items && Volatile.Read(ref _failure) is null)
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
    }

    /// <summary>Waits for the items that helpers have taken, and throws what the first failed item threw.</summary>
    public void Complete()
    {
        var spin = default(SpinWait);
        while (Volatile.Read(ref _active) > 0) spin.SpinOnce(sleep1Threshold: -1);
        _failure?.Throw();
    }

    protected abstract void Run(int item);
}

/// <summary>A job over work of a known type, so that running an item is one call.</summary>
internal sealed class Job<TWork>(TWork work, int items, int mostHelpers, CancellationToken cancellation) : Job(items, mostHelpers, cancellation)
    where TWork : struct, IWork
{
    protected override void Run(int item) => work.Run(item);
}
