using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>Steps that several ranks make together.</summary>
internal sealed class SyncMeter(ServiceMeter service)
{
    private readonly Counter<long> _steps = service.Meter.CreateCounter<long>("bnservice.sync.steps", "{step}", "Steps of several ranks that this node has brought to an end.");
    private readonly Histogram<double> _wait = service.Seconds("bnservice.sync.wait.duration", "Time that a rank's call waits for the others.", ServiceMeter.RequestBounds);

    /// <summary>A step is over.</summary>
    /// <param name="call">The call that the ranks have made.</param>
    /// <param name="outcome">What has become of it: <c>made</c>, <c>timeout</c> or <c>refused</c>.</param>
    public void Ended(string call, string outcome) =>
        _steps.Add(1, KeyValuePair.Create("call", (object?)call), KeyValuePair.Create("outcome", (object?)outcome));

    /// <summary>A rank's call waits no longer.</summary>
    /// <param name="begun">Since when it has waited.</param>
    public void Waited(long begun) => _wait.Record(Stopwatch.GetElapsedTime(begun).TotalSeconds);
}
