using BnService.Api.Errors;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// Lets large states be stored one at a time, before they are encoded: keys take turns, and as long as small states are being stored as
/// well, large ones take a third of the time, so that most small ones find the store free. Small ones pass at once.
/// </summary>
internal sealed class LargeWrites(MemoryBudget budget, TimeProvider time)
{
    /// <summary>States of fewer bytes pass.</summary>
    public const long LargeBytes = 256 << 10;

    // The time that is left to the others, in that which the large one took.
    private const int PauseFactor = 2;

    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(10), Recent = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();

    // Whose turn it is comes first; each key has one place here however many wait with it.
    private readonly LinkedList<(string Key, Queue<TaskCompletionSource> Waiting)> _order = [];
    private long _smallAt, _waitingBytes;
    private bool _hasSmall, _isTaken;

    public int Waiting
    {
        get
        {
            lock (_lock) return _order.Sum(entry => entry.Waiting.Count);
        }
    }

    /// <summary>Waits for a state's turn; what is returned is disposed when it is stored.</summary>
    /// <param name="key">Whose it is: the key that its session was created with, or the session.</param>
    /// <param name="bytes">What it takes in memory.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    /// <exception cref="ProblemException">Those that wait take too much memory already.</exception>
    public ValueTask<Turn> EnterAsync(string key, long bytes, CancellationToken cancellationToken)
    {
        if (bytes >= LargeBytes) return EnterLargeAsync(key, bytes, cancellationToken);
        Volatile.Write(ref _smallAt, time.GetTimestamp());
        _hasSmall = true;
        return default;
    }

    private async ValueTask<Turn> EnterLargeAsync(string key, long bytes, CancellationToken cancellationToken)
    {
        if (Wait(key, bytes) is { } waiting)
        {
            try
            {
                using var ended = cancellationToken.UnsafeRegister(
                    static state => ((TaskCompletionSource)state!).TrySetCanceled(), waiting);
                await waiting.Task;
            }
            finally
            {
                Interlocked.Add(ref _waitingBytes, -bytes);
            }
        }
        return new Turn(this, time.GetTimestamp());
    }

    // Null where nothing is in the way.
    private TaskCompletionSource? Wait(string key, long bytes)
    {
        lock (_lock)
        {
            if (!_isTaken)
            {
                _isTaken = true;
                return null;
            }
            // One may always wait, however small the machine.
            if (_waitingBytes > 0 && _waitingBytes + bytes > budget.Limit / 2)
            {
                throw new ProblemException(ProblemCode.Overloaded,
                    $"states of {_waitingBytes} bytes wait to be stored, and half of {budget.Limit} may (Memory:BudgetBytes); "
                    + "nothing has changed: send it again later");
            }
            Interlocked.Add(ref _waitingBytes, bytes);
            var waiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var place = _order.First;
            while (place is not null && place.Value.Key != key) place = place.Next;
            place ??= _order.AddLast((key, []));
            place.Value.Waiting.Enqueue(waiting);
            return waiting;
        }
    }

    private async Task PassOnAsync(long begun)
    {
        var isContested = _hasSmall && time.GetElapsedTime(Volatile.Read(ref _smallAt)) < Recent;
        var pause = isContested ? PauseFactor * time.GetElapsedTime(begun) : TimeSpan.Zero;
        if (pause > LongestPause) pause = LongestPause;
        if (pause > TimeSpan.Zero) await Task.Delay(pause, time).ConfigureAwait(false);
        lock (_lock)
        {
            while (_order.First is { } next)
            {
                _order.RemoveFirst();
                var isAdmitted = next.Value.Waiting.Dequeue().TrySetResult();
                if (next.Value.Waiting.Count > 0) _order.AddLast(next);
                if (isAdmitted) return;
            }
            _isTaken = false;
        }
    }

    /// <summary>The right to store a large state.</summary>
    /// <param name="writes">Where it goes back to; null for a small one.</param>
    /// <param name="begun">When it was given.</param>
    internal readonly struct Turn(LargeWrites? writes, long begun) : IDisposable
    {
        public void Dispose() => _ = writes?.PassOnAsync(begun);
    }
}
