using System.Collections.Concurrent;

namespace BnService.Api.Hosting.Connections;

/// <summary>
/// What comes by connections is read from a few of them at a time. The server makes a hundred heads of one small piece of HTTP/2 before the
/// first of them is a request that can be counted: here they begin before the next piece is read.
/// </summary>
internal sealed class ReadingTurns : IThreadPoolWorkItem
{
    private readonly ConcurrentQueue<TaskCompletionSource> _waiting = new();
    private readonly int _most = Math.Max(1, Environment.ProcessorCount / 2);
    private int _running;

    /// <summary>Waits for a turn.</summary>
    public Task NextAsync()
    {
        // What follows is read at once, in the turn.
        var turn = new TaskCompletionSource();
        _waiting.Enqueue(turn);
        Start();
        return turn.Task;
    }

    /// <summary>Gives the next one its turn.</summary>
    // In the pool's queue what has come of the last one is in front of this.
    void IThreadPoolWorkItem.Execute()
    {
        if (_waiting.TryDequeue(out var next)) next.SetResult();
        if (!_waiting.IsEmpty)
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
            return;
        }
        Interlocked.Decrement(ref _running);
        if (!_waiting.IsEmpty) Start();
    }

    private void Start()
    {
        for (var running = Volatile.Read(ref _running); running < _most;)
        {
            var before = Interlocked.CompareExchange(ref _running, running + 1, running);
            if (before == running)
            {
                ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
                return;
            }
            running = before;
        }
    }
}
