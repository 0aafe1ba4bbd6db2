using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace BnService.Api.Hosting.Telemetry;

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
        private readonly Histogram<double> _wait = service.Seconds($"{name}.wait.duration", $"Time that requests have waited {what}.", ServiceMeter.RequestBounds);

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
