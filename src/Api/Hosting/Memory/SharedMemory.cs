using BnService.Core.Tensors;

namespace BnService.Api.Hosting.Memory;

/// <summary>
/// Memory that requests hold together and that is the collector's to free: the state that answers are written from. It is there once, however
/// many read it, and is counted as long as somebody does: a client that takes nothing of its answer keeps a state that its session has left
/// behind long ago.
/// </summary>
/// <param name="admission">Lets it in.</param>
internal sealed class SharedMemory(MemoryAdmission admission)
{
    private readonly Dictionary<object, Entry> _held = new(ReferenceEqualityComparer.Instance);
    private readonly Lock _lock = new();

    /// <summary>Holds something, until what is returned is disposed.</summary>
    /// <param name="shared">What is held.</param>
    /// <param name="bytes">What it takes; it counts as half of the budget at most, so that what is larger can be read, by itself.</param>
    /// <param name="cancellationToken">Ends waiting for room.</param>
    /// <exception cref="Errors.ProblemException">There is no room.</exception>
    public async ValueTask<IDisposable> HoldAsync(object shared, long bytes, CancellationToken cancellationToken)
    {
        if (Join(shared, null) is { } joined) return joined;
        var account = new MemoryAccount(admission.Budget);
        try
        {
            await admission.ReserveAsync(account, Math.Min(bytes, admission.Budget.Limit / 2), cancellationToken);
        }
        catch
        {
            account.Dispose();
            throw;
        }
        return Join(shared, account)!;
    }

    // Joins those that hold it, or with an account is the first of them. Giving memory back lets others in, and is not done under the lock.
    private Holder? Join(object shared, MemoryAccount? account)
    {
        Entry? entry;
        var isThere = true;
        lock (_lock)
        {
            if (!_held.TryGetValue(shared, out entry))
            {
                if (account is null) return null;
                (entry, isThere) = (new Entry(account), false);
                _held.Add(shared, entry);
            }
            entry.Holders++;
        }
        if (isThere) account?.Dispose();
        return new Holder(this, shared);
    }

    private void Leave(object shared)
    {
        Entry entry;
        lock (_lock)
        {
            entry = _held[shared];
            if (--entry.Holders > 0) return;
            _held.Remove(shared);
        }
        entry.Account.Dispose();
    }

    private sealed record Entry(MemoryAccount Account)
    {
        public int Holders { get; set; }
    }

    private sealed class Holder(SharedMemory memory, object shared) : IDisposable
    {
        private int _isDisposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isDisposed, 1) == 0) memory.Leave(shared);
        }
    }
}
