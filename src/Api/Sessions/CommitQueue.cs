namespace BnService.Api.Sessions;

/// <summary>How a queue of changes reaches the store.</summary>
internal interface ICommits
{
    /// <summary>Completes a state that a change has made, or refuses it.</summary>
    SessionRecord Accept(SessionRecord next);

    /// <summary>Stores a state; false where the stored one is no longer the one it was made from.</summary>
    Task<bool> TryStoreAsync(SessionRecord current, SessionRecord next);

    /// <summary>Takes over what another node has stored.</summary>
    /// <exception cref="Hosting.Problems.ProblemException">The session is gone.</exception>
    Task RefreshAsync(LayerSession session);
}

/// <summary>
/// The changes of one session, one after the other in the order in which they came: those that wait together are applied to one another's
/// results and stored as one write, after which each is answered with its own.
/// </summary>
internal sealed class CommitQueue(LayerSession session)
{
    private readonly Lock _lock = new();
    private List<WaitingChange> _waiting = [];
    private bool _isRunning;

    /// <summary>Number of changes that wait for those that are being stored.</summary>
    public int Waiting
    {
        get
        {
            lock (_lock) return _waiting.Count;
        }
    }

    /// <summary>Makes a change; it is durable when the task ends.</summary>
    /// <param name="change">
    /// New state from old; the same state if there is nothing to change. Throws to refuse. Applied again where another node was faster, so
    /// that it must depend on nothing but the state it is given.
    /// </param>
    /// <param name="commits">How it reaches the store.</param>
    /// <returns>The state after the change.</returns>
    public Task<SessionRecord> AddAsync(Func<SessionRecord, SessionRecord> change, ICommits commits)
    {
        var added = new WaitingChange(change);
        lock (_lock)
        {
            _waiting.Add(added);
            if (_isRunning) return added.Task;
            _isRunning = true;
        }
        _ = RunAsync(commits);
        return added.Task;
    }

    private async Task RunAsync(ICommits commits)
    {
        for (var isFirst = true; ; isFirst = false)
        {
            // Whoever has come first works for itself, and not for all that come meanwhile.
            if (!isFirst) await Task.Yield();
            List<WaitingChange> together;
            lock (_lock)
            {
                (together, _waiting) = (_waiting, []);
                _isRunning = together.Count > 0;
            }
            if (together.Count == 0) return;
            try
            {
                await CommitAsync(together, commits);
                together.ForEach(change => change.Finish());
            }
            catch (Exception exception)
            {
                together.ForEach(change => change.Fail(exception));
            }
        }
    }

    private async Task CommitAsync(List<WaitingChange> together, ICommits commits)
    {
        while (true)
        {
            var current = session.Current;
            var state = together.Aggregate(current, (state, change) => change.ApplyTo(state, commits));
            if (ReferenceEquals(state, current)) return;
            if (await commits.TryStoreAsync(current, state))
            {
                session.Publish(state);
                return;
            }
            await commits.RefreshAsync(session);
        }
    }

    private sealed class WaitingChange(Func<SessionRecord, SessionRecord> change)
    {
        // Who waits goes on elsewhere: the queue is not its thread.
        private readonly TaskCompletionSource<SessionRecord> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private SessionRecord? _state;
        private Exception? _refusal;

        public Task<SessionRecord> Task => _result.Task;

        public SessionRecord ApplyTo(SessionRecord state, ICommits commits)
        {
            (_state, _refusal) = (null, null);
            try
            {
                var next = change(state);
                return _state = ReferenceEquals(next, state) ? state : commits.Accept(next);
            }
            catch (Exception exception)
            {
                _refusal = exception;
                return state;
            }
        }

        public void Finish()
        {
            if (_refusal is not null) _result.SetException(_refusal);
            else _result.SetResult(_state!);
        }

        public void Fail(Exception exception) => _result.SetException(_refusal ?? exception);
    }
}
