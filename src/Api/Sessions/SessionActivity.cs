namespace BnService.Api.Sessions;

/// <summary>Which sessions have moved on this node: for who looks at many of them at once.</summary>
internal sealed class SessionActivity
{
    // Who asks once a second and still misses some sees those that are moving on the next time.
    private const int Kept = 4096;

    private readonly Lock _lock = new();
    private readonly string[] _names = new string[Kept];
    private readonly string[] _ids = new string[Kept];
    private long _moves;
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Number of moves so far.</summary>
    public long Moves => Interlocked.Read(ref _moves);

    /// <summary>A session has been created, changed or deleted, or a batch has passed through it.</summary>
    public void Touch(SessionRecord session)
    {
        TaskCompletionSource told;
        lock (_lock)
        {
            (_names[_moves % Kept], _ids[_moves % Kept]) = (session.Name, session.Id);
            _moves++;
            (told, _next) = (_next, new(TaskCreationOptions.RunContinuationsAsynchronously));
        }
        told.SetResult();
    }

    /// <summary>The sessions of a scope that have moved since, each once.</summary>
    /// <param name="scope">The sessions that the caller sees.</param>
    /// <param name="since">Number of moves that are known.</param>
    /// <returns>Their ids, the number of moves now, and what is done when there are more.</returns>
    public (IReadOnlyList<string> Ids, long Moves, Task Next) Since(SessionScope scope, long since)
    {
        lock (_lock)
        {
            var ids = new HashSet<string>();
            for (var i = Math.Max(since, _moves - Kept); i < _moves; i++)
            {
                if (scope.Contains(_names[i % Kept])) ids.Add(_ids[i % Kept]);
            }
            return ([.. ids], _moves, _next.Task);
        }
    }
}
