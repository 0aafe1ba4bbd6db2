using System.Diagnostics;
using BnService.Api.Hosting.Telemetry;

namespace BnService.Api.Sessions;

/// <summary>How a queue of changes reaches the store.</summary>
internal interface ICommits
{
    /// <summary>Counts what happens.</summary>
    CommitMeter Meter { get; }

    /// <summary>Completes a state that a change has made, or refuses it.</summary>
    SessionRecord Accept(SessionRecord next);

    /// <summary>What is remembered of an answer; null if that is nothing.</summary>
    ValueTask<RememberedAnswer?> FindAnswerAsync(LayerSession session, AnswerKey key);

    /// <summary>Stores a state and answers; false where the stored state is no longer the one it was made from, or one of the answers is there.</summary>
    Task<bool> TryStoreAsync(SessionRecord current, SessionRecord next, IReadOnlyList<RememberedAnswer> answers);

    /// <summary>Takes over what another node has stored.</summary>
    /// <exception cref="Errors.ProblemException">The session is gone.</exception>
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

    /// <summary>Whether nothing waits and nothing is being stored.</summary>
    public bool IsIdle
    {
        get
        {
            lock (_lock) return !_isRunning;
        }
    }

    /// <summary>Makes a change; it is durable when the task ends.</summary>
    /// <param name="change">The change.</param>
    /// <param name="commits">How it reaches the store.</param>
    public Task<CommittedChange> AddAsync(SessionChange change, ICommits commits)
    {
        var added = new WaitingChange(change, commits.Meter.Added());
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
            together.ForEach(change => commits.Meter.Taken(change.AddedAt));
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
        for (var times = 1; ; times++)
        {
            var current = session.Current;
            var made = new MadeChanges(session, current);
            foreach (var change in together) await change.ApplyAsync(made, commits);
            if (made.IsNothing) return;
            if (await TryStoreAsync(current, made, together.Count, commits))
            {
                session.Publish(made.State);
                return;
            }
            await Overtaken.WaitAsync(times);
            await commits.RefreshAsync(session);
        }
    }

    private static async Task<bool> TryStoreAsync(SessionRecord current, MadeChanges made, int changes, ICommits commits)
    {
        var begun = Stopwatch.GetTimestamp();
        try
        {
            var isStored = await commits.TryStoreAsync(current, made.State, made.Answers);
            commits.Meter.Written(begun, changes, isStored);
            return isStored;
        }
        catch
        {
            commits.Meter.Failed();
            throw;
        }
    }

    // What the changes of one write have come to so far.
    private sealed class MadeChanges(LayerSession session, SessionRecord current)
    {
        private readonly SessionRecord _current = current;

        public SessionRecord State { get; set; } = current;

        public List<RememberedAnswer> Answers { get; } = [];

        public bool IsNothing => ReferenceEquals(State, _current) && Answers.Count == 0;

        public async ValueTask<RememberedAnswer?> FindAsync(AnswerKey key, ICommits commits) =>
            Answers.Find(answer => answer.Key.Topic == key.Topic && answer.Key.Key == key.Key) ?? await commits.FindAnswerAsync(session, key);
    }

    private sealed class WaitingChange(SessionChange change, long addedAt)
    {
        // Who waits goes on elsewhere: the queue is not its thread.
        private readonly TaskCompletionSource<CommittedChange> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private CommittedChange? _made;
        private Exception? _refusal;

        public Task<CommittedChange> Task => _result.Task;

        public long AddedAt => addedAt;

        public async ValueTask ApplyAsync(MadeChanges made, ICommits commits)
        {
            (_made, _refusal) = (null, null);
            var before = made.State;
            try
            {
                var earlier = change.Key is null ? null : await made.FindAsync(change.Key, commits);
                if (earlier is not null)
                {
                    change.Key!.RequireSame(earlier);
                    _made = new CommittedChange(before, before, earlier);
                    return;
                }
                var next = change.Apply(before);
                if (!ReferenceEquals(next, before)) next = commits.Accept(next);
                var answers = change.Remember?.Invoke(before, next).ToList() ?? [];
                made.State = next;
                foreach (var answer in answers)
                {
                    // Of what is remembered beside the change's own answer, something may be there.
                    if (ReferenceEquals(answer.Key, change.Key) || await made.FindAsync(answer.Key, commits) is null) made.Answers.Add(answer);
                }
                _made = new CommittedChange(before, next, null);
            }
            catch (Exception exception) when (ReferenceEquals(made.State, before))
            {
                _refusal = exception;
            }
        }

        public void Finish()
        {
            if (_refusal is not null) _result.SetException(_refusal);
            else _result.SetResult(_made!);
        }

        public void Fail(Exception exception) => _result.SetException(_refusal ?? exception);
    }
}
