using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>Changes of sessions on their way to the store.</summary>
internal sealed class CommitMeter(ServiceMeter service)
{
    private readonly Tally _waiting = service.Level("bnservice.commits.waiting", "{change}", "Changes that wait for those of their session that are being stored.");
    private readonly Tally _commits = service.Count("bnservice.commits", "{commit}", "Writes of a session's state that the store has taken.");
    private readonly Tally _conflicts = service.Count("bnservice.commit.conflicts", "{conflict}", "Writes that were made again on another state, because another node was faster.");
    private readonly Tally _setBack = service.Count(
        "bnservice.sessions.set_back", "{session}", "States in memory that the database had no more: it has gone back.");
    private readonly Tally _failures = service.Count("bnservice.commit.failures", "{commit}", "Writes that the store has failed.");
    private readonly Histogram<double> _wait = service.Seconds("bnservice.commit.wait.duration", "Time that a change waits before its write begins.", ServiceMeter.RequestBounds);
    private readonly Histogram<double> _store = service.Seconds("bnservice.commit.store.duration", "Time that the store takes for a write.", ServiceMeter.RequestBounds);
    private readonly Histogram<int> _group = service.Numbers("bnservice.commit.group.changes", "Changes of a session that are one write.", ServiceMeter.GroupBounds);

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
