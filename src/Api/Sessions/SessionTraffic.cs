using System.Collections.Concurrent;
using System.Text.Json.Serialization;
using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>A batch that was looked at in passing.</summary>
/// <param name="Statistics">Its statistics.</param>
/// <param name="At">When it passed.</param>
internal sealed record ObservedBatch(LastBatch Statistics, DateTimeOffset At);

/// <summary>One train-step, as the history keeps it.</summary>
/// <param name="Version">Version after the step.</param>
/// <param name="BatchesTracked">Number of batches that had moved the running statistics.</param>
/// <param name="At">When it was answered.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="Drift">Drift of its batch, or null.</param>
/// <param name="Warnings">Codes of its warnings.</param>
internal readonly record struct StepLine(long Version, long BatchesTracked, DateTimeOffset At, long Count, Drift? Drift, string[] Warnings)
{
    /// <summary>Where its batch lies against the running statistics, or null.</summary>
    public BatchShift? Shift { get; init; }

    /// <summary>From the batch's arrival until the step was stored; null where it waited for other ranks.</summary>
    public TimeSpan? Elapsed { get; init; }

    /// <summary>What it was in each channel, or null.</summary>
    [JsonIgnore]
    public ChannelTrace? Trace { get; init; }

    /// <summary>Whether the database has gone back behind it.</summary>
    [JsonIgnore]
    public bool IsLost { get; init; }
}

/// <summary>One inference batch that was looked at, as the history keeps it.</summary>
/// <param name="At">When it passed.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="Drift">Its drift against the running statistics of then, or null.</param>
internal readonly record struct InferenceLine(DateTimeOffset At, long Count, Drift? Drift);

/// <summary>
/// What has passed through a session on this node, for diagnostics, and what is known of the time before the session was brought here
/// (<see cref="TrafficHistory"/>).
/// </summary>
internal sealed class SessionTraffic
{
    /// <summary>The most steps that are remembered.</summary>
    public const int MostSteps = 1024;

    /// <summary>The most inference batches that are remembered.</summary>
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
    private long _stepsTaken, _inferencesSeen, _bytesOfTraces;
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Memory that it takes, roughly.</summary>
    public long Bytes => ((_steps.Length + _earlierSteps.Length) * BytesOfStep) + ((_inferences.Count + _earlierInferences.Length) * BytesOfInference)
        + Interlocked.Read(ref _bytesOfTraces) + BytesOf(Inference) + BytesOf(Frozen);

    /// <summary>Number of train-steps that have passed.</summary>
    public long StepsTaken => Interlocked.Read(ref _stepsTaken);

    /// <summary>The last step; null before the first.</summary>
    public StepLine? LastStep
    {
        get
        {
            lock (_lock) return _stepsTaken == 0 || _steps[(_stepsTaken - 1) % _steps.Length] is not { IsLost: false } last ? null : last;
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
        lock (_lock)
        {
            // Most sessions have few steps or many: the ring grows to its size and stays there.
            if (_stepsTaken == _steps.Length && _steps.Length < MostSteps) Array.Resize(ref _steps, Math.Max(FewSteps, 2 * _steps.Length));
            _steps[_stepsTaken++ % _steps.Length] = step;
            ForgetTraces(step.Trace);
            Tell();
        }
    }

    /// <summary>Forgets the steps beyond a version: the database has gone back to it.</summary>
    public void ForgetAfter(long version)
    {
        lock (_lock)
        {
            foreach (ref var step in _steps.AsSpan())
            {
                if (step.Version > version) step = step with { IsLost = true, Trace = null };
            }
            _earlierSteps = [.. _earlierSteps.Where(step => step.Version <= version)];
            Tell();
        }
    }

    /// <summary>Remembers an inference batch that was looked at.</summary>
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
        [.. Newest(limit).Reverse().Select(step => step.Drift?.Divergence).OfType<double>()];

    /// <summary>What has passed since a place in the traffic: what was forgotten meanwhile is left out.</summary>
    /// <param name="place">The place; the start of all for what is remembered.</param>
    public TrafficNews Since(TrafficPlace place)
    {
        lock (_lock)
        {
            var steps = new List<StepLine>();
            for (var i = Math.Max(place.Steps, _stepsTaken - _steps.Length); i < _stepsTaken; i++)
            {
                if (_steps[i % _steps.Length] is { IsLost: false } step) steps.Add(step);
            }
            var inferences = _inferences.Skip((int)Math.Max(0, _inferences.Count - (_inferencesSeen - place.Inferences))).ToList();
            return new TrafficNews(steps, inferences, new TrafficPlace(_stepsTaken, _inferencesSeen), _next.Task);
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
        lock (_lock)
        {
            foreach (ref var step in _steps.AsSpan()) step = step with { Trace = null };
            Interlocked.Exchange(ref _bytesOfTraces, 0);
        }
        (Inference, Frozen) = (KeptTraffic.Small(Inference), KeptTraffic.Small(Frozen));
    }

    /// <summary>What is kept of it besides the session.</summary>
    public KeptTraffic Keep() =>
        new([.. Newest(KeptTraffic.MostSteps).Reverse()], [.. NewestInferences(KeptTraffic.MostInferences).Reverse()], Inference, Frozen);

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

    // Channels are many and the room for them is not: of the older steps only the rest is kept. Called under the lock.
    private void ForgetTraces(ChannelTrace? newest)
    {
        if (newest is null) return;
        var kept = ChannelTrace.MostBytes / newest.Bytes;
        var (first, bytes) = (Math.Max(0, _stepsTaken - _steps.Length), 0L);
        for (var i = _stepsTaken - 1; i >= first; i--)
        {
            ref var step = ref _steps[i % _steps.Length];
            if (step.Trace is null) continue;
            if (kept-- > 0) bytes += step.Trace.Bytes;
            else
            {
                step = step with { Trace = null };
                // What is older has been forgotten before.
                break;
            }
        }
        Interlocked.Exchange(ref _bytesOfTraces, bytes);
    }

    private static long BytesOf(ObservedBatch? batch) => batch is null ? 0 : 2L * batch.Statistics.Mean.Length * sizeof(double);

    private void Tell()
    {
        var told = _next;
        _next = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        told.SetResult();
    }
}

/// <summary>A place in what passes through a session on this node.</summary>
/// <param name="Steps">Number of train-steps before it.</param>
/// <param name="Inferences">Number of inference batches before it that were looked at.</param>
internal readonly record struct TrafficPlace(long Steps, long Inferences);

/// <summary>What has passed through a session since a place.</summary>
/// <param name="Steps">The train-steps, oldest first.</param>
/// <param name="Inferences">The inference batches that were looked at, oldest first.</param>
/// <param name="Place">Where that ends.</param>
/// <param name="Next">Is done when more has passed.</param>
internal sealed record TrafficNews(IReadOnlyList<StepLine> Steps, IReadOnlyList<InferenceLine> Inferences, TrafficPlace Place, Task Next);
