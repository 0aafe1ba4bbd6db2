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

    /// <summary>Reserves so many bytes beside what is rented, unless more than <paramref name="most"/> of the budget would then be in use.</summary>
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
