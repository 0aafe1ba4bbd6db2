using System.Security.Cryptography;
using System.Text;
using BnService.Api.Errors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// What backward needs of a train-step. Shared by the catalog of steps and the calls that use it; its memory goes back when both are
/// done.
/// </summary>
internal sealed class RetainedStep(string id, string sessionId, BatchInput input, LayerState layer, StepStatistics? statistics, long bytes)
    : IDisposable
{
    // Identifiers, list nodes and the objects around them.
    private const long BytesBesideArrays = 1024;
    private int _holders = 1;

    public string Id { get; } = id;

    public string SessionId { get; } = sessionId;

    public BatchInput Input { get; } = input;

    public LayerState Layer { get; } = layer;

    public StepStatistics? Statistics { get; } = statistics;

    /// <summary>Memory that the step keeps alive, in bytes; the layer's arrays are shared with the session for the most part.</summary>
    public long Bytes { get; } = bytes;

    public static long BytesOf(BatchInput input, Layout layout, int? ghostBatchSize) =>
        BytesBesideArrays + input.X.AllocatedBytes + (input.Residual?.AllocatedBytes ?? 0)
        + (input.Mask is { } mask ? mask.Values.Length + layout.Count : 0)
        + (input.Own is null ? 0 : 2L * layout.Parameters * sizeof(double))
        + (5L * ((input.X.Shape[0] / (ghostBatchSize ?? int.MaxValue)) + 1) * layout.Statistics * sizeof(double));

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

    private readonly NodeOptions _node;

    public RetainedSteps(IOptions<RetentionOptions> options, IOptions<NodeOptions> node, MemoryBudget budget, TimeProvider time)
    {
        // What backward can do without, by sending x again, makes room for what is asked now.
        budget.MakeRoom = DropOldest;
        (_options, _node, _time) = (options.Value, node.Value, time);
        // Expired steps are never answered with; the sweep is there to give their memory back when nobody asks.
        var period = TimeSpan.FromTicks(Math.Clamp(_options.TimeToLive.Ticks / 4, TimeSpan.TicksPerMillisecond, TimeSpan.TicksPerMinute));
        _sweep = time.CreateTimer(_ => DropExpired(), null, period, period);
    }

    public long Bytes => Interlocked.Read(ref _bytes);

    public int Count
    {
        get
        {
            lock (_lock) return _byId.Count;
        }
    }

    /// <summary>A name for a step: that of this node, which will have it, and a part that no other step has.</summary>
    /// <param name="sessionId">The session.</param>
    /// <param name="key">The call, whose repetitions name the step in the same way; null for a name of its own.</param>
    public string NewId(string sessionId, AnswerKey? key)
    {
        if (key is null) return $"{_node.Name}:{Guid.NewGuid():N}";
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{sessionId} {key.Key} {key.Fingerprint}"));
        return $"{_node.Name}:{Convert.ToHexStringLower(hash.AsSpan(0, 16))}";
    }

    /// <summary>Refuses a step that could not be retained even alone.</summary>
    /// <exception cref="ProblemException">It is larger than the whole budget.</exception>
    public void RequireRoom(long bytes)
    {
        if (bytes > _options.MaxBytes)
        {
            throw new ProblemException(ProblemCode.LimitReached,
                $"retaining this step takes {bytes} bytes; Retention:MaxBytes allows {_options.MaxBytes} over all sessions; "
                + "send \"retain\": false");
        }
    }

    /// <summary>Retains a step and takes it over, dropping the oldest ones as far as it needs room.</summary>
    public void Add(RetainedStep step)
    {
        lock (_lock)
        {
            // Of a call and its repetition the same step may come twice.
            if (_byId.TryGetValue(step.Id, out var same)) Remove(same);
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
            if (_byId.TryGetValue(stepId, out var found) && found.Value.Step.SessionId == sessionId)
            {
                if (IsExpired(found.Value.AddedAt)) Remove(found);
                else if (found.Value.Step.TryHold()) return found.Value.Step;
            }
        }
        var node = stepId.LastIndexOf(':') is var end and > 0 ? stepId[..end] : _node.Name;
        throw new ProblemException(ProblemCode.StepExpired, node == _node.Name
            ? $"step '{Excerpt.Of(stepId)}' of this session is not retained (any more); resend x with dy instead of step_id"
            : $"step '{Excerpt.Of(stepId)}' was retained by node '{Excerpt.Of(node)}', and this is node '{_node.Name}'; "
                + "resend x with dy instead of step_id, or have the load balancer send all calls of a session to one node");
    }

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

    public void Dispose()
    {
        _sweep.Dispose();
        lock (_lock)
        {
            while (_oldestFirst.First is { } node) Remove(node);
        }
    }

    private bool DropOldest()
    {
        lock (_lock)
        {
            if (_oldestFirst.First is not { } oldest) return false;
            Remove(oldest);
            return true;
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
