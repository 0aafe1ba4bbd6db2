using System.Collections.Concurrent;
using System.Text.Json.Serialization;
using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>A batch that was looked at in passing.</summary>
internal sealed record ObservedBatch(LastBatch Statistics, DateTimeOffset At);

/// <summary>One train-step, as the history keeps it.</summary>
internal readonly record struct StepLine(long Version, long BatchesTracked, DateTimeOffset At, long Count, Drift? Drift, string[] Warnings)
{
    /// <summary>Where its batch lies against the running statistics, or null.</summary>
    public BatchShift? Shift { get; init; }

    /// <summary>From the batch's arrival until the step was stored; null where it waited for other ranks.</summary>
    public TimeSpan? Elapsed { get; init; }

    /// <summary>
    /// What its drift and shift are computed of when somebody looks; null where they are known, or the step left nothing.
    /// </summary>
    [JsonIgnore]
    public StepMoments? Moments { get; init; }

    /// <summary>Whether the database has gone back to a version before it.</summary>
    [JsonIgnore]
    public bool IsLost { get; init; }

    /// <summary>The line with its drift and shift.</summary>
    public StepLine Seen() => Moments?.Look() is { } seen ? this with { Drift = seen.Drift, Shift = seen.Shift } : this;
}

/// <summary>One inference batch that was looked at, as the history keeps it.</summary>
internal readonly record struct InferenceLine(DateTimeOffset At, long Count, Drift? Drift);

/// <summary>
/// What has passed through a session on this node, for diagnostics, and what is known of the time before the session was brought here
/// (<see cref="TrafficHistory"/>).
/// </summary>
internal sealed class SessionTraffic
{
    public const int MostSteps = 1024;

    public const int MostInferences = 256;

    /// <summary>Whether it waits to be stored.</summary>
    public volatile bool IsMarked;

    /// <summary>Whether what the store has kept is here as well.</summary>
    public volatile bool IsRestored;

    /// <summary>Whether its session has been deleted.</summary>
    public volatile bool IsGone;

    private const int FewSteps = 16;
    private const long BytesOfStep = 192, BytesOfInference = 96;

    private readonly InferenceTally _ofLive = new();
    private readonly ConcurrentDictionary<string, InferenceTally> _ofSnapshots = new();
    private readonly Lock _lock = new();
    private readonly Queue<InferenceLine> _inferences = new();
    private StepLine[] _steps = [], _earlierSteps = [];
    private InferenceLine[] _earlierInferences = [];
    private long _stepsTaken, _inferencesSeen, _bytesOfMoments, _bytesOfOne;
    private TaskCompletionSource? _next;

    /// <summary>Memory that it takes, roughly.</summary>
    public long Bytes => ((_steps.Length + _earlierSteps.Length) * BytesOfStep)
        + ((_inferences.Count + _earlierInferences.Length) * BytesOfInference)
        + Interlocked.Read(ref _bytesOfMoments) + BytesOf(Inference) + BytesOf(Frozen);

    public long StepsTaken => Interlocked.Read(ref _stepsTaken);

    /// <summary>The last step; null before the first.</summary>
    public StepLine? LastStep
    {
        get
        {
            StepLine last;
            lock (_lock)
            {
                if (_stepsTaken == 0) return null;
                last = _steps[(_stepsTaken - 1) % _steps.Length];
            }
            return last.IsLost ? null : last.Seen();
        }
    }

    /// <summary>The counts of infer requests by versions: of the live state, and of the snapshots that were asked.</summary>
    public IEnumerable<(string Version, InferenceTally Tally)> Inferences =>
        _ofSnapshots.Select(snapshot => (snapshot.Key, snapshot.Value)).Prepend(("", _ofLive));

    /// <summary>Counts the infer requests of the Open Inference Protocol for a version.</summary>
    /// <param name="version">A version that there is, as the protocol writes it; empty for the live state.</param>
    public InferenceTally InferencesOf(string version) =>
        version.Length == 0 ? _ofLive : _ofSnapshots.GetOrAdd(version, _ => new InferenceTally());

    /// <summary>Forgets what was counted for a version that is no more.</summary>
    public void ForgetInferencesOf(string version) => _ofSnapshots.TryRemove(version, out _);

    /// <summary>Which small batches are looked at: all, unless there have just been many.</summary>
    public SampleRate SmallSamples { get; } = new(TimeSpan.FromSeconds(1) / 50, atOnce: 100);

    /// <summary>Which large batches are looked at.</summary>
    public SampleRate LargeSamples { get; } = new(TimeSpan.FromSeconds(1), atOnce: 1);

    /// <summary>The last inference batch that was looked at.</summary>
    public ObservedBatch? Inference { get; set; }

    /// <summary>The last batch of a train-step in mode frozen that was looked at.</summary>
    public ObservedBatch? Frozen { get; set; }

    /// <summary>Remembers a step and forgets the oldest where there are too many.</summary>
    public void Add(StepLine step)
    {
        StepMoments? old;
        lock (_lock)
        {
            // Most sessions have few steps or many: the ring grows to its size and stays there.
            if (_stepsTaken == _steps.Length && _steps.Length < MostSteps) Array.Resize(ref _steps, Math.Max(FewSteps, 2 * _steps.Length));
            _steps[_stepsTaken++ % _steps.Length] = step;
            old = TooOld(step.Moments);
            Tell();
        }
        old?.Forget();
    }

    /// <summary>Forgets the steps beyond a version: the database has gone back to it.</summary>
    public void ForgetAfter(long version)
    {
        lock (_lock)
        {
            foreach (ref var step in _steps.AsSpan())
            {
                if (step.Version > version) step = step with { IsLost = true, Moments = null };
            }
            _earlierSteps = [.. _earlierSteps.Where(step => step.Version <= version)];
            Tell();
        }
    }

    public void Add(InferenceLine inference)
    {
        lock (_lock)
        {
            if (_inferences.Count == MostInferences) _inferences.Dequeue();
            _inferences.Enqueue(inference);
            _inferencesSeen++;
            Tell();
        }
    }

    /// <summary>The last inference batches that were looked at, newest first.</summary>
    public IReadOnlyList<InferenceLine> NewestInferences(int limit)
    {
        lock (_lock) return [.. _inferences.Reverse().Concat(_earlierInferences.Reverse()).Take(limit)];
    }

    /// <summary>The divergences of the last steps, oldest first.</summary>
    public IReadOnlyList<double> RecentDrift(int limit) =>
        [.. Newest(limit).Reverse().Select(step => step.Seen().Drift?.Divergence).OfType<double>()];

    /// <summary>What has passed since a place in the traffic: what was forgotten meanwhile is left out.</summary>
    /// <param name="place">The place; the start of all for what is remembered.</param>
    public TrafficNews Since(TrafficPlace place)
    {
        var steps = new List<StepLine>();
        lock (_lock)
        {
            for (var i = Math.Max(place.Steps, _stepsTaken - _steps.Length); i < _stepsTaken; i++)
            {
                if (_steps[i % _steps.Length] is { IsLost: false } step) steps.Add(step);
            }
            var inferences = _inferences.Skip((int)Math.Max(0, _inferences.Count - (_inferencesSeen - place.Inferences))).ToList();
            return new TrafficNews(steps, inferences, new TrafficPlace(_stepsTaken, _inferencesSeen), (_next ??= NewTold()).Task);
        }
    }

    /// <summary>The last steps, newest version first.</summary>
    public IReadOnlyList<StepLine> Newest(int limit)
    {
        var steps = new List<StepLine>();
        lock (_lock)
        {
            for (var i = _stepsTaken - 1; i >= Math.Max(0, _stepsTaken - _steps.Length); i--)
            {
                if (_steps[i % _steps.Length] is { IsLost: false } step) steps.Add(step);
            }
            steps.AddRange(_earlierSteps.Reverse());
        }
        // Steps at the same time are answered in any order; those in mode frozen share a version and keep theirs.
        return [.. steps.OrderByDescending(step => step.Version).Take(limit)];
    }

    /// <summary>Its session leaves memory: what is not kept besides it goes as well.</summary>
    public void Shed()
    {
        List<StepMoments> moments;
        lock (_lock)
        {
            moments = [.. _steps.Select(step => step.Moments).OfType<StepMoments>()];
            Interlocked.Exchange(ref _bytesOfMoments, 0);
        }
        moments.ForEach(step => step.Forget());
        (Inference, Frozen) = (KeptTraffic.Small(Inference), KeptTraffic.Small(Frozen));
    }

    public KeptTraffic Keep() => new(
        [.. Newest(KeptTraffic.MostSteps).Reverse().Select(step => step.Seen())],
        [.. NewestInferences(KeptTraffic.MostInferences).Reverse()], Inference, Frozen);

    /// <summary>Takes in what passed before; what is known already is left out.</summary>
    public void Restore(KeptTraffic earlier)
    {
        lock (_lock)
        {
            _earlierSteps = [.. _earlierSteps.Concat(earlier.Steps).DistinctBy(step => (step.Version, step.At))
                .OrderBy(step => step.Version).ThenBy(step => step.At).TakeLast(KeptTraffic.MostSteps)];
            _earlierInferences = [.. _earlierInferences.Concat(earlier.Inferences).DistinctBy(inference => inference.At)
                .OrderBy(inference => inference.At).TakeLast(KeptTraffic.MostInferences)];
        }
        if (earlier.Inference is { } inference && !(Inference?.At >= inference.At)) Inference = inference;
        if (earlier.Frozen is { } frozen && !(Frozen?.At >= frozen.At)) Frozen = frozen;
    }

    // Channels are many and the room for them is not: the moments of the older steps have to go. Called under the lock.
    private StepMoments? TooOld(StepMoments? newest)
    {
        if (newest is not null) _bytesOfOne = newest.Bytes;
        if (_bytesOfOne == 0) return null;
        var (kept, first) = (StepMoments.MostBytes / _bytesOfOne, Math.Max(0, _stepsTaken - _steps.Length));
        Interlocked.Exchange(ref _bytesOfMoments, Math.Min(kept, _stepsTaken - first) * _bytesOfOne);
        // What is older has been forgotten before.
        return _stepsTaken - 1 - kept is var place && place >= first ? _steps[place % _steps.Length].Moments : null;
    }

    private static long BytesOf(ObservedBatch? batch) => batch is null ? 0 : 2L * batch.Statistics.Mean.Length * sizeof(double);

    private static TaskCompletionSource NewTold() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private void Tell()
    {
        _next?.SetResult();
        _next = null;
    }
}

/// <summary>A place in what passes through a session on this node.</summary>
internal readonly record struct TrafficPlace(long Steps, long Inferences);

/// <summary>What has passed through a session since a place.</summary>
internal sealed record TrafficNews(IReadOnlyList<StepLine> Steps, IReadOnlyList<InferenceLine> Inferences, TrafficPlace Place, Task Next);
