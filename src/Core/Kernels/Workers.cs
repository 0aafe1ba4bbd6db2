namespace BnService.Core.Kernels;

/// <summary>
/// Threads that live as long as the process and help callers with their items. A caller works on its own items too and never waits
/// for a helper to arrive, so that no request can starve another: without a free helper it is as fast as one thread.
/// </summary>
/// <remarks>
/// A helper that has just worked looks for more for about 20 µs before it sleeps: batch follows batch, and waking a thread costs more
/// than a small one. Longer spinning would take the core from the caller where there are as many threads as cores.
/// </remarks>
internal static class Workers
{
    private const int MostHelpers = 63;
    private const int IdleLooks = 64; // each with a pause of about 0.3 µs

    private static readonly Lock Gate = new();
    private static readonly SemaphoreSlim Wake = new(0);
    private static readonly Job?[] Jobs = new Job?[16];
    private static int s_helpers;
    private static int s_awake;
    private static int s_sleeping;

    /// <summary>
    /// Runs items 0 … <paramref name="items"/> − 1 on the calling thread and up to <paramref name="threads"/> − 1 helpers.
    /// </summary>
    /// <exception cref="Exception">The first one that an item threw, or the cancellation; items that had not begun by then do not
    /// run.</exception>
    public static void Run<TWork>(TWork work, int items, int threads, CancellationToken cancellation, bool isBackwards = false)
        where TWork : struct, IWork
    {
        var helpers = Math.Min(Math.Min(threads, items) - 1, MostHelpers);
        if (helpers <= 0)
        {
            for (var item = 0; item < items; item++)
            {
                cancellation.ThrowIfCancellationRequested();
                work.Run(isBackwards ? items - 1 - item : item);
            }
            return;
        }
        var job = new Job<TWork>(work, items, helpers, isBackwards, cancellation);
        var slot = Publish(job, helpers);
        job.Help(0);
        if (slot >= 0) Volatile.Write(ref Jobs[slot], null);
        job.Complete();
    }

    // Where all places are taken the machine is busy anyway, and the caller does without help.
    private static int Publish(Job job, int helpers)
    {
        for (var slot = 0; slot < Jobs.Length; slot++)
        {
            if (Volatile.Read(ref Jobs[slot]) is not null || Interlocked.CompareExchange(ref Jobs[slot], job, null) is not null) continue;
            if (Volatile.Read(ref s_helpers) < helpers) Start(helpers);
            var toWake = Math.Min(helpers - Volatile.Read(ref s_awake), Volatile.Read(ref s_sleeping));
            if (toWake > 0) Wake.Release(toWake);
            return slot;
        }
        return -1;
    }

    private static void Start(int helpers)
    {
        lock (Gate)
        {
            for (; s_helpers < helpers; s_helpers++)
                new Thread(Serve) { IsBackground = true, Name = $"normalization {s_helpers + 1}" }.Start();
        }
    }

    private static void Serve()
    {
        Interlocked.Increment(ref s_awake);
        while (true)
        {
            for (var looks = 0; looks < IdleLooks; looks++)
            {
                if (HelpAny()) looks = 0;
                else Thread.SpinWait(8);
            }
            Sleep();
        }
    }

    private static void Sleep()
    {
        Interlocked.Increment(ref s_sleeping);
        Interlocked.Decrement(ref s_awake);
        // A job may have come between the last look and the announcement that this thread sleeps.
        if (!HelpAny()) Wake.Wait();
        Interlocked.Increment(ref s_awake);
        Interlocked.Decrement(ref s_sleeping);
    }

    private static bool HelpAny()
    {
        var helped = false;
        for (var slot = 0; slot < Jobs.Length; slot++)
        {
            if (Volatile.Read(ref Jobs[slot]) is { } job) helped |= job.TryHelp();
        }
        return helped;
    }
}
