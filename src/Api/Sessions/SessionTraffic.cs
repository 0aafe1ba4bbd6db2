using System.Collections.Concurrent;
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
internal readonly record struct StepLine(long Version, long BatchesTracked, DateTimeOffset At, long Count, Drift? Drift, string[] Warnings);

/// <summary>
/// What has passed through a session on this node, for diagnostics. Kept in memory alone: a restart loses it, which costs nobody a result.
/// </summary>
internal sealed class SessionTraffic
{
    /// <summary>The most steps that are remembered.</summary>
    public const int MostSteps = 1024;

    private const int FewSteps = 16;
    private const long BytesOfStep = 64;

    private readonly InferenceTally _ofLive = new();
    private readonly ConcurrentDictionary<string, InferenceTally> _ofSnapshots = new();
    private readonly Lock _lock = new();
    private StepLine[] _steps = [];
    private long _stepsTaken;

    /// <summary>Memory that the steps take, roughly.</summary>
    public long Bytes => _steps.Length * BytesOfStep;

    /// <summary>Number of train-steps that have passed.</summary>
    public long StepsTaken => Interlocked.Read(ref _stepsTaken);

    /// <summary>The last step; null before the first.</summary>
    public StepLine? LastStep
    {
        get
        {
            lock (_lock) return _stepsTaken == 0 ? null : _steps[(_stepsTaken - 1) % _steps.Length];
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
        }
    }

    /// <summary>The last steps, newest version first.</summary>
    public IReadOnlyList<StepLine> Newest(int limit)
    {
        var steps = new List<StepLine>();
        lock (_lock)
        {
            for (var i = _stepsTaken - 1; i >= Math.Max(0, _stepsTaken - _steps.Length); i--) steps.Add(_steps[i % _steps.Length]);
        }
        // Steps at the same time are answered in any order; those in mode frozen share a version and keep theirs.
        return [.. steps.OrderByDescending(step => step.Version).Take(limit)];
    }
}
