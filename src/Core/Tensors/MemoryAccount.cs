namespace BnService.Core.Tensors;

/// <summary>
/// What one request takes of a budget: the larger of what it has reserved and what it has rented. Buffers are charged to the account that
/// is current where they are rented, and stay on it until they are given back, even after it was closed: that is how what a request leaves
/// behind for later calls is counted.
/// </summary>
/// <param name="budget">The budget.</param>
public sealed class MemoryAccount(MemoryBudget budget) : IDisposable
{
    private static readonly AsyncLocal<MemoryAccount?> Ambient = new();

    private readonly Lock _lock = new();
    private long _reserved;
    private long _rented;
    private long _held;
    private bool _isClosed;

    /// <summary>The account that buffers are charged to here; null where they are not counted.</summary>
    public static MemoryAccount? Current
    {
        get => Ambient.Value;
        set => Ambient.Value = value;
    }

    /// <summary>Bytes that are rented.</summary>
    public long Rented
    {
        get
        {
            lock (_lock) return _rented;
        }
    }

    /// <summary>Bytes of the budget that it takes.</summary>
    public long Taken
    {
        get
        {
            lock (_lock) return Math.Max(_reserved, _rented);
        }
    }

    /// <summary>
    /// Makes sure that so many more bytes can be rented: for what must not fail once it has begun. Without an account there is nothing to
    /// make sure of.
    /// </summary>
    /// <exception cref="MemoryBudgetException">There is no room for them.</exception>
    public static void Expect(long bytes) => Ambient.Value?.ExpectMore(bytes);

    /// <summary>
    /// Counts memory that is the collector's to free, as arrays and texts are, and that the request holds until it ends. Where nothing is
    /// counted it does nothing.
    /// </summary>
    /// <exception cref="MemoryBudgetException">There is no room for it.</exception>
    public static void Hold(long bytes) => Ambient.Value?.HoldMore(bytes);

    /// <summary>
    /// Reserves so many bytes beside what is rented, unless more than <paramref name="most"/> of the budget would then be in use.
    /// </summary>
    public bool TryReserve(long bytes, long most)
    {
        lock (_lock)
        {
            if (_isClosed) return true;
            var total = _rented + bytes;
            if (total <= _reserved) return true;
            if (!budget.TryTake(total - Math.Max(_reserved, _rented), most)) return false;
            _reserved = total;
            return true;
        }
    }

    /// <summary>Lets go of what is reserved beyond so many bytes beside what is rented.</summary>
    public void Settle(long bytes)
    {
        long freed;
        lock (_lock)
        {
            var before = Math.Max(_reserved, _rented);
            _reserved = Math.Min(_reserved, _rented + bytes);
            freed = before - Math.Max(_reserved, _rented);
        }
        budget.Give(freed);
    }

    /// <summary>Lets go of what is reserved; what is rented is counted on.</summary>
    public void Dispose()
    {
        long freed;
        lock (_lock)
        {
            _isClosed = true;
            freed = Math.Max(_reserved, _rented) - (_rented - _held);
            _rented -= _held;
            (_reserved, _held) = (0, 0);
        }
        budget.Give(freed);
    }

    /// <summary>Counts a buffer that is about to be rented.</summary>
    /// <exception cref="MemoryBudgetException">There is no room for it.</exception>
    internal void Charge(long bytes)
    {
        // Making room gives back buffers of other accounts, which must not wait for this one.
        while (!TryCharge(bytes))
        {
            if (budget.MakeRoom?.Invoke() != true) throw NoRoom(bytes);
        }
    }

    /// <summary>Counts a buffer no more.</summary>
    internal void Refund(long bytes)
    {
        long freed;
        lock (_lock)
        {
            var before = Math.Max(_reserved, _rented);
            _rented -= bytes;
            freed = before - Math.Max(_reserved, _rented);
        }
        budget.Give(freed);
    }

    private bool TryCharge(long bytes)
    {
        lock (_lock)
        {
            var more = Math.Max(_reserved, _rented + bytes) - Math.Max(_reserved, _rented);
            if (more > 0 && !budget.TryTake(more, bytes > MemoryBudget.SmallBytes ? budget.MostForLarge : budget.Limit)) return false;
            _rented += bytes;
            return true;
        }
    }

    private void HoldMore(long bytes)
    {
        Charge(bytes);
        lock (_lock)
        {
            if (!_isClosed)
            {
                _held += bytes;
                return;
            }
        }
        Refund(bytes);
    }

    private void ExpectMore(long bytes)
    {
        while (!TryReserve(bytes, budget.Limit))
        {
            if (budget.MakeRoom?.Invoke() != true) throw NoRoom(bytes);
        }
    }

    private MemoryBudgetException NoRoom(long bytes)
    {
        budget.Lacking?.Invoke(bytes);
        return new($"the request needs {bytes} more bytes of memory, of {budget.Limit} {budget.Used} are in use (Memory:BudgetBytes); " +
            "send it again later, or smaller batches");
    }
}

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

    /// <summary>
    /// Gives up something that could be done without; false where there is nothing left. Never called under a lock of this class.
    /// </summary>
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
