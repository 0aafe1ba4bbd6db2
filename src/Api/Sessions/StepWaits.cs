namespace BnService.Api.Sessions;

/// <summary>A step of several ranks, by what all nodes know it by.</summary>
/// <param name="SessionId">Whose step it is.</param>
/// <param name="Topic">The call and the group.</param>
/// <param name="Number">Its number.</param>
internal sealed record StepName(string SessionId, string Topic, long Number);

/// <summary>The calls of this node that wait for steps of several ranks to be over. Nothing is kept of a step for which none waits.</summary>
internal sealed class StepWaits
{
    private readonly Lock _lock = new();
    private readonly Dictionary<StepName, (TaskCompletionSource<RememberedAnswer> Over, int Calls)> _steps = [];

    /// <summary>Number of calls that wait.</summary>
    public int Count
    {
        get
        {
            lock (_lock) return _steps.Values.Sum(step => step.Calls);
        }
    }

    /// <summary>Waits for a step, until the wait is disposed.</summary>
    public StepWait Begin(StepName step)
    {
        lock (_lock)
        {
            var (over, calls) = _steps.GetValueOrDefault(step, (new(TaskCreationOptions.RunContinuationsAsynchronously), 0));
            _steps[step] = (over, calls + 1);
            return new StepWait(this, step, over.Task);
        }
    }

    /// <summary>Tells whoever waits for a step what has become of it.</summary>
    public void End(StepName step, RememberedAnswer outcome)
    {
        lock (_lock)
        {
            if (_steps.TryGetValue(step, out var waiting)) waiting.Over.TrySetResult(outcome);
        }
    }

    /// <summary>Waits no longer.</summary>
    public void Leave(StepName step)
    {
        lock (_lock)
        {
            var (over, calls) = _steps[step];
            if (calls == 1) _steps.Remove(step);
            else _steps[step] = (over, calls - 1);
        }
    }
}

/// <summary>A call that waits for a step.</summary>
/// <param name="waits">Where it waits.</param>
/// <param name="step">The step.</param>
/// <param name="over">Ends when the step is over, where this node comes to know that by itself.</param>
internal sealed class StepWait(StepWaits waits, StepName step, Task<RememberedAnswer> over) : IDisposable
{
    /// <summary>Ends with the outcome when the step is over, where this node comes to know that by itself.</summary>
    public Task<RememberedAnswer> Over => over;

    /// <inheritdoc/>
    public void Dispose() => waits.Leave(step);
}
