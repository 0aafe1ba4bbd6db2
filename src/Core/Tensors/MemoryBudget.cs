namespace BnService.Core.Tensors;

/// <summary>The most bytes that buffers may hold at one time, over all accounts. It is kept to whatever was estimated before.</summary>
/// <param name="limit">The most bytes.</param>
public sealed class MemoryBudget(long limit)
{
    /// <summary>What is no more than this is small: a part of the budget is left to it.</summary>
    public const long SmallBytes = 256 << 10;

    private const int PartForSmall = 16;

    private long _used;
    private long _peak;

    /// <summary>The most bytes.</summary>
    public long Limit => limit;

    /// <summary>The most bytes that may be in use when something is taken that is not small.</summary>
    public long MostForLarge => limit - (limit / PartForSmall);

    /// <summary>Bytes that are rented or reserved, or taken without asking.</summary>
    public long Used => Interlocked.Read(ref _used) + (Unasked?.Invoke() ?? 0);

    /// <summary>Bytes that are taken without asking, as the buffers of a server's connections are.</summary>
    public Func<long>? Unasked { get; set; }

    /// <summary>Bytes that are kept free for what is taken without asking.</summary>
    public long KeptForUnasked { get; set; }

    /// <summary>The most bytes that were ever rented or reserved at one time.</summary>
    public long Peak => Interlocked.Read(ref _peak);

    /// <summary>Gives up something that could be done without; false where there is nothing left. Never called under a lock of this class.</summary>
    public Func<bool>? MakeRoom { get; set; }

    /// <summary>Called when there was no room for so many bytes, so that there may be some for the next one; must be quick.</summary>
    public Action<long>? Lacking { get; set; }

    /// <summary>Called when bytes have been given back, and not under a lock of this class; must be quick.</summary>
    public Action? Freed { get; set; }

    /// <summary>Takes bytes unless more than <paramref name="most"/> would then be in use.</summary>
    internal bool TryTake(long bytes, long most)
    {
        var (used, unasked) = (Interlocked.Read(ref _used), Unasked?.Invoke() ?? 0);
        while (used + bytes <= most - Math.Max(unasked, KeptForUnasked))
        {
            var seen = Interlocked.CompareExchange(ref _used, used + bytes, used);
            if (seen == used)
            {
                Note(used + bytes + unasked);
                return true;
            }
            used = seen;
        }
        return false;
    }

    /// <summary>Gives bytes back.</summary>
    internal void Give(long bytes)
    {
        if (bytes == 0) return;
        Interlocked.Add(ref _used, -bytes);
        Freed?.Invoke();
    }

    private void Note(long used)
    {
        var peak = Interlocked.Read(ref _peak);
        while (used > peak)
        {
            var seen = Interlocked.CompareExchange(ref _peak, used, peak);
            if (seen == peak) return;
            peak = seen;
        }
    }
}

/// <summary>Memory that a budget has no room for. Nothing has been rented when it is thrown.</summary>
/// <param name="message">What was asked for, and what is allowed.</param>
public sealed class MemoryBudgetException(string message) : Exception(message);
