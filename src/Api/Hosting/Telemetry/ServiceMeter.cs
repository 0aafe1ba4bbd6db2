using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// What all instruments of one service belong to: several services of a process, as tests have them, do not count together.
/// </summary>
internal sealed class ServiceMeter : IDisposable
{
    /// <summary>Name of the meter and of the source of spans.</summary>
    public const string Name = "BnService";

    /// <summary>Bounds of what takes as long as a request, in seconds.</summary>
    public static IReadOnlyList<double> RequestBounds { get; } =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

    /// <summary>Bounds of what takes as long as a pass over a batch, in seconds.</summary>
    public static IReadOnlyList<double> PassBounds { get; } =
        [0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
            0.25, 0.5, 1];

    /// <summary>Bounds of how many are done together.</summary>
    public static IReadOnlyList<double> GroupBounds { get; } = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

    /// <summary>The meter.</summary>
    public Meter Meter { get; } = new(Name);

    /// <summary>A histogram of seconds.</summary>
    public Histogram<double> Seconds(string name, string description, IReadOnlyList<double> bounds) =>
        Meter.CreateHistogram(name, "s", description, tags: null, new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });

    /// <summary>A histogram of numbers.</summary>
    public Histogram<int> Numbers(string name, string description, IReadOnlyList<double> bounds) =>
        Meter.CreateHistogram(name, null, description, tags: null,
            new InstrumentAdvice<int> { HistogramBucketBoundaries = [.. bounds.Select(bound => (int)bound)] });

    /// <summary>A count that is there from the start, and costs one addition where it counts.</summary>
    public Tally Count(string name, string unit, string description)
    {
        var tally = new Tally();
        Meter.CreateObservableCounter(name, () => tally.Value, unit, description);
        return tally;
    }

    /// <summary>A number that goes up and down.</summary>
    public Tally Level(string name, string unit, string description)
    {
        var tally = new Tally();
        Meter.CreateObservableUpDownCounter(name, () => tally.Value, unit, description);
        return tally;
    }

    public void Dispose() => Meter.Dispose();
}

/// <summary>A number that many change.</summary>
internal sealed class Tally
{
    private long _value;

    /// <summary>What it has come to.</summary>
    public long Value => Interlocked.Read(ref _value);

    /// <summary>Adds to it.</summary>
    public void Add(long value) => Interlocked.Add(ref _value, value);
}

/// <summary>Changes of sessions on their way to the store.</summary>
internal sealed class CommitMeter(ServiceMeter service)
{
    private readonly Tally _waiting = service.Level("bnservice.commits.waiting", "{change}",
        "Changes that wait for those of their session that are being stored.");
    private readonly Tally _commits = service.Count("bnservice.commits", "{commit}",
        "Writes of a session's state that the store has taken.");
    private readonly Tally _conflicts = service.Count("bnservice.commit.conflicts", "{conflict}",
        "Writes that were made again on another state, because another node was faster.");
    private readonly Tally _setBack = service.Count(
        "bnservice.sessions.set_back", "{session}", "States in memory that the database had no more: it has gone back.");
    private readonly Tally _failures = service.Count("bnservice.commit.failures", "{commit}", "Writes that the store has failed.");
    private readonly Histogram<double> _wait = service.Seconds(
        "bnservice.commit.wait.duration", "Time that a change waits before its write begins.", ServiceMeter.RequestBounds);
    private readonly Histogram<double> _store = service.Seconds(
        "bnservice.commit.store.duration", "Time that the store takes for a write.", ServiceMeter.RequestBounds);
    private readonly Histogram<int> _group = service.Numbers(
        "bnservice.commit.group.changes", "Changes of a session that are one write.", ServiceMeter.GroupBounds);

    /// <summary>A change has come.</summary>
    /// <returns>When that was.</returns>
    public long Added()
    {
        _waiting.Add(1);
        return Stopwatch.GetTimestamp();
    }

    /// <summary>It waits no longer.</summary>
    /// <param name="added">When it came.</param>
    public void Taken(long added)
    {
        _waiting.Add(-1);
        _wait.Record(Stopwatch.GetElapsedTime(added).TotalSeconds);
    }

    /// <summary>A write has come back from the store.</summary>
    /// <param name="begun">When it began.</param>
    /// <param name="changes">How many changes it holds.</param>
    /// <param name="isStored">Whether the store has taken it; otherwise it was overtaken.</param>
    public void Written(long begun, int changes, bool isStored)
    {
        _store.Record(Stopwatch.GetElapsedTime(begun).TotalSeconds);
        if (!isStored)
        {
            _conflicts.Add(1);
            return;
        }
        _commits.Add(1);
        _group.Record(changes);
    }

    /// <summary>A state that was known here is stored no more, and none that has come from it.</summary>
    public void WentBack() => _setBack.Add(1);

    /// <summary>A write has failed.</summary>
    public void Failed() => _failures.Add(1);
}

/// <summary>Requests that wait for their share of what is bounded; small ones, which never do, are not counted.</summary>
internal sealed class WaitMeter(ServiceMeter service)
{
    /// <summary>For room in the memory budget.</summary>
    public Queue Memory { get; } = new(service, "bnservice.memory", "for room in the memory budget");

    /// <summary>For a turn among the large batches that are computed at once.</summary>
    public Queue Compute { get; } = new(service, "bnservice.compute", "for a turn among the large batches that are computed at once");

    /// <summary>Those that wait for one thing.</summary>
    internal sealed class Queue(ServiceMeter service, string name, string what)
    {
        private readonly Tally _waiting = service.Level($"{name}.waiting", "{request}", $"Requests that wait {what}.");
        private readonly Histogram<double> _wait = service.Seconds(
            $"{name}.wait.duration", $"Time that requests have waited {what}.", ServiceMeter.RequestBounds);

        /// <summary>One has found its share free.</summary>
        public void Passed() => _wait.Record(0);

        /// <summary>Waits for something, and counts that.</summary>
        public async Task WaitAsync(Task admitted)
        {
            var begun = Stopwatch.GetTimestamp();
            _waiting.Add(1);
            try
            {
                await admitted;
            }
            finally
            {
                _waiting.Add(-1);
                _wait.Record(Stopwatch.GetElapsedTime(begun).TotalSeconds);
            }
        }
    }
}

/// <summary>Steps that several ranks make together.</summary>
internal sealed class SyncMeter(ServiceMeter service)
{
    private readonly Counter<long> _steps = service.Meter.CreateCounter<long>(
        "bnservice.sync.steps", "{step}", "Steps of several ranks that this node has brought to an end.");
    private readonly Histogram<double> _wait = service.Seconds(
        "bnservice.sync.wait.duration", "Time that a rank's call waits for the others.", ServiceMeter.RequestBounds);

    /// <summary>A step is over.</summary>
    /// <param name="call">The call that the ranks have made.</param>
    /// <param name="outcome">What has become of it: <c>made</c>, <c>timeout</c> or <c>refused</c>.</param>
    public void Ended(string call, string outcome) =>
        _steps.Add(1, KeyValuePair.Create("call", (object?)call), KeyValuePair.Create("outcome", (object?)outcome));

    /// <summary>A rank's call waits no longer.</summary>
    /// <param name="begun">Since when it has waited.</param>
    public void Waited(long begun) => _wait.Record(Stopwatch.GetElapsedTime(begun).TotalSeconds);
}
