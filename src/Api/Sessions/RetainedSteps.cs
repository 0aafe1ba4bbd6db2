using BnService.Api.Hosting;
using BnService.Api.Hosting.Problems;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>What backward needs of a train-step. Shared by the catalog of steps and the calls that use it; its memory goes back when both are done.</summary>
/// <param name="sessionId">Whose step it is.</param>
/// <param name="input">The batch; owned by the step from here on.</param>
/// <param name="layer">The layer as it was when the batch was normalized.</param>
/// <param name="statistics">The batch's statistics; null where the running statistics normalized it.</param>
/// <param name="bytes">Memory that the step keeps alive.</param>
internal sealed class RetainedStep(string sessionId, BatchInput input, LayerState layer, StepStatistics? statistics, long bytes) : IDisposable
{
    // Identifiers, list nodes and the objects around them.
    private const long BytesBesideArrays = 1024;
    private int _holders = 1;

    public string Id { get; } = Guid.NewGuid().ToString("N");

    public string SessionId { get; } = sessionId;

    public BatchInput Input { get; } = input;

    public LayerState Layer { get; } = layer;

    public StepStatistics? Statistics { get; } = statistics;

    /// <summary>Memory that the step keeps alive, in bytes; the layer's arrays are shared with the session for the most part.</summary>
    public long Bytes { get; } = bytes;

    /// <summary>Memory that a step of this batch would keep alive, in bytes.</summary>
    public static long BytesOf(BatchInput input, NormalizationPlan plan, int ghostBatches) =>
        BytesBesideArrays + input.X.AllocatedBytes + (input.Residual?.AllocatedBytes ?? 0) + (input.Mask?.Length ?? 0)
        + (5L * ghostBatches * plan.Statistics * sizeof(double));

    /// <summary>One more holder; false if the last one has already let go.</summary>
    public bool TryHold()
    {
        var holders = Volatile.Read(ref _holders);
        while (holders > 0)
        {
            var seen = Interlocked.CompareExchange(ref _holders, holders + 1, holders);
            if (seen == holders) return true;
            holders = seen;
        }
        return false;
    }

    /// <summary>One holder less; the last one gives the memory back.</summary>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _holders) == 0) Input.Dispose();
    }
}

/// <summary>
/// The activations that train-steps leave behind for backward: within a byte budget over all sessions (the oldest step makes room)
/// and a time to live.
/// </summary>
internal sealed class RetainedSteps : IDisposable
{
    private readonly Lock _lock = new();
    private readonly LinkedList<(RetainedStep Step, long AddedAt)> _oldestFirst = new();
    private readonly Dictionary<string, LinkedListNode<(RetainedStep Step, long AddedAt)>> _byId = [];
    private readonly RetentionOptions _options;
    private readonly TimeProvider _time;
    private readonly ITimer _sweep;
    private long _bytes;

    public RetainedSteps(IOptions<RetentionOptions> options, TimeProvider time)
    {
        (_options, _time) = (options.Value, time);
        // Expired steps are never answered with; the sweep is there to give their memory back when nobody asks.
        var period = TimeSpan.FromTicks(Math.Clamp(_options.TimeToLive.Ticks / 4, TimeSpan.TicksPerMillisecond, TimeSpan.TicksPerMinute));
        _sweep = time.CreateTimer(_ => DropExpired(), null, period, period);
    }

    /// <summary>Bytes that are retained at this moment.</summary>
    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Refuses a step that could not be retained even alone.</summary>
    /// <exception cref="ProblemException">It is larger than the whole budget.</exception>
    public void RequireRoom(long bytes)
    {
        if (bytes > _options.MaxBytes)
        {
            throw new ProblemException(ProblemCode.LimitReached,
                $"retaining this step takes {bytes} bytes; Retention:MaxBytes allows {_options.MaxBytes} over all sessions; send \"retain\": false");
        }
    }

    /// <summary>Retains a step and takes it over, dropping the oldest ones as far as it needs room.</summary>
    public void Add(RetainedStep step)
    {
        lock (_lock)
        {
            while (_oldestFirst.First is { } oldest && _bytes + step.Bytes > _options.MaxBytes) Remove(oldest);
            _byId.Add(step.Id, _oldestFirst.AddLast((step, _time.GetTimestamp())));
            _bytes += step.Bytes;
        }
    }

    /// <summary>A session's step, held for the caller, who disposes it.</summary>
    /// <exception cref="ProblemException">The step is gone.</exception>
    public RetainedStep Hold(string stepId, string sessionId)
    {
        lock (_lock)
        {
            if (_byId.TryGetValue(stepId, out var node) && node.Value.Step.SessionId == sessionId)
            {
                if (IsExpired(node.Value.AddedAt)) Remove(node);
                else if (node.Value.Step.TryHold()) return node.Value.Step;
            }
        }
        throw new ProblemException(ProblemCode.StepExpired,
            $"step '{Excerpt.Of(stepId)}' of this session is not retained (any more); resend x with dy instead of step_id");
    }

    /// <summary>Drops all steps of a session.</summary>
    public void Drop(string sessionId)
    {
        lock (_lock)
        {
            for (var node = _oldestFirst.First; node is not null;)
            {
                var next = node.Next;
                if (node.Value.Step.SessionId == sessionId) Remove(node);
                node = next;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _sweep.Dispose();
        lock (_lock)
        {
            while (_oldestFirst.First is { } node) Remove(node);
        }
    }

    private void DropExpired()
    {
        lock (_lock)
        {
            while (_oldestFirst.First is { } oldest && IsExpired(oldest.Value.AddedAt)) Remove(oldest);
        }
    }

    private bool IsExpired(long addedAt) => _time.GetElapsedTime(addedAt) >= _options.TimeToLive;

    private void Remove(LinkedListNode<(RetainedStep Step, long AddedAt)> node)
    {
        _oldestFirst.Remove(node);
        _byId.Remove(node.Value.Step.Id);
        _bytes -= node.Value.Step.Bytes;
        node.Value.Step.Dispose();
    }
}
