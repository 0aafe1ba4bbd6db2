using System.ComponentModel.DataAnnotations;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Memory;

/// <summary>Section <c>Memory</c>: tensors in flight and retained.</summary>
public sealed record MemoryOptions
{
    /// <summary>
    /// The most bytes; without it, half of what the runtime may have: a machine's memory, three quarters of a container's, or
    /// DOTNET_GCHeapHardLimit. Below 1 GiB it is a fifth to a third of the memory.
    /// </summary>
    [Range(1L << 20, 1L << 50, ErrorMessage = "must be from 2^20 to 2^50 bytes")]
    public long BudgetBytes { get; init; } = Math.Max(1L << 20, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2);

    /// <summary>How long a request waits for room before it is refused.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:05:00", ErrorMessage = "must be from 00:00:00 to 00:05:00")]
    public TimeSpan WaitTime { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long nothing must have happened before idle memory goes back to the operating system.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "01:00:00", ErrorMessage = "must be from 00:00:00.100 to 01:00:00")]
    public TimeSpan TrimAfter { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>
/// Lets requests in before their tensors are read: each reserves once what it will need, so that none holds memory while it waits for more,
/// and those that find no room wait their turn for a bounded time. What is retained for backward makes room first.
/// </summary>
internal sealed class MemoryAdmission
{
    /// <summary>What needs no more than this does not wait; a part of the budget is left to it by those that do.</summary>
    public const long SmallBytes = MemoryBudget.SmallBytes;

    private readonly LinkedList<Waiter> _waiters = new();
    private readonly MemoryOptions _options;
    private readonly WaitMeter _waits;
    private readonly TimeProvider _time;
    private readonly long _most;
    private volatile int _waiting;

    /// <summary>Admission to a budget.</summary>
    public MemoryAdmission(MemoryBudget budget, IOptions<MemoryOptions> options, WaitMeter waits, TimeProvider time)
    {
        (_options, _waits, _time, _most) = (options.Value, waits, time, budget.MostForLarge);
        Budget = budget;
        Shared = new SharedMemory(this);
        Arriving = new ArrivingBodies(time);
        budget.Freed = Serve;
        // Not here, where a buffer is being rented: it ends requests, which give theirs back.
        budget.Lacking = bytes => ThreadPool.UnsafeQueueUserWorkItem(
            static lacking => lacking.Arriving.MakeRoom(lacking.Bytes), (Arriving, Bytes: bytes), preferLocal: false);
    }

    /// <summary>What is admitted to.</summary>
    public MemoryBudget Budget { get; }

    /// <summary>What several requests hold together.</summary>
    public SharedMemory Shared { get; }

    /// <summary>Large bodies that are on their way.</summary>
    public ArrivingBodies Arriving { get; }

    /// <summary>Number of requests that wait.</summary>
    public int Waiting => _waiting;

    /// <summary>Reserves memory for a request, and waits for it where it has to.</summary>
    /// <param name="account">The request's account.</param>
    /// <param name="bytes">What the request will need beside what it has rented.</param>
    /// <exception cref="ProblemException">There is no room, and there was none for as long as it waits.</exception>
    public async ValueTask ReserveAsync(MemoryAccount account, long bytes, CancellationToken cancellationToken)
    {
        if (bytes <= SmallBytes)
        {
            RequireSmall(account, bytes);
            return;
        }
        // Nothing that could be given back would make room for it.
        if (bytes > _most - Budget.KeptForUnasked) throw Refused(bytes, "and will not have room");
        if (TryReserve(account, bytes))
        {
            _waits.Memory.Passed();
            return;
        }
        var waiter = new Waiter(account, bytes);
        LinkedListNode<Waiter> place;
        lock (_waiters)
        {
            place = _waiters.AddLast(waiter);
            _waiting++;
        }
        // What was freed before this one stood in line has not been offered to it.
        Serve();
        // Whoever waits for half of the time waits for what is not about to be over.
        using var half = _time.CreateTimer(_ => Arriving.MakeRoom(bytes), null, _options.WaitTime / 2, Timeout.InfiniteTimeSpan);
        try
        {
            await _waits.Memory.WaitAsync(waiter.Admitted.Task.WaitAsync(_options.WaitTime, _time, cancellationToken));
        }
        catch (TimeoutException) when (!Leave(place))
        {
            // Admitted at the last moment.
        }
        catch (TimeoutException)
        {
            throw Refused(bytes, $"had no room for {_options.WaitTime.TotalSeconds:0.###} s");
        }
        catch
        {
            Leave(place);
            throw;
        }
    }

    /// <summary>Offers room to those that wait, what is retained included.</summary>
    public void MakeRoom()
    {
        Serve();
        while (Waiting > 0 && Budget.MakeRoom?.Invoke() == true) Serve();
    }

    private void RequireSmall(MemoryAccount account, long bytes)
    {
        while (!account.TryReserve(bytes, Budget.Limit))
        {
            if (Budget.MakeRoom?.Invoke() == true) continue;
            Budget.Lacking?.Invoke(bytes);
            throw Refused(bytes, "has no room");
        }
    }

    private bool TryReserve(MemoryAccount account, long bytes)
    {
        while (Waiting == 0)
        {
            if (account.TryReserve(bytes, _most)) return true;
            if (Budget.MakeRoom?.Invoke() != true) return false;
        }
        return false;
    }

    // In their order: a large one is not passed by small ones for ever.
    private void Serve()
    {
        // Asked each time that a buffer is given back.
        if (_waiting == 0) return;
        lock (_waiters)
        {
            while (_waiters.First is { Value: var first } && first.Account.TryReserve(first.Bytes, _most))
            {
                _waiters.RemoveFirst();
                _waiting--;
                first.Admitted.SetResult();
            }
        }
    }

    // False where it was admitted already. The next one may fit where this one did not.
    private bool Leave(LinkedListNode<Waiter> place)
    {
        lock (_waiters)
        {
            if (place.List is null) return false;
            _waiters.Remove(place);
            _waiting--;
        }
        Serve();
        return true;
    }

    private ProblemException Refused(long bytes, string why) => new(ProblemCode.Overloaded,
        $"the request needs about {bytes} bytes of memory, and the service, which allows {Budget.Limit} over all requests " +
            $"(Memory:BudgetBytes), {why}; " +
        "send it again later, or smaller batches");

    private sealed record Waiter(MemoryAccount Account, long Bytes)
    {
        public TaskCompletionSource Admitted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}

/// <summary>
/// Memory that requests hold together and that is the collector's to free: the state that answers are written from. It is there once,
/// however many read it, and is counted as long as somebody does: a client that takes nothing of its answer keeps a state that its session
/// has left behind long ago.
/// </summary>
/// <param name="admission">Lets it in.</param>
internal sealed class SharedMemory(MemoryAdmission admission)
{
    private readonly Dictionary<object, Entry> _held = new(ReferenceEqualityComparer.Instance);
    private readonly Lock _lock = new();

    /// <summary>Holds something, until what is returned is disposed.</summary>
    /// <param name="shared">What is held.</param>
    /// <param name="bytes">What it takes; it counts as half of the budget at most, so that what is larger can be read, by itself.</param>
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
