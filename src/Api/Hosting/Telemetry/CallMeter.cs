using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>Requests and their answers, by method, call and status.</summary>
internal sealed class CallMeter
{
    private const string OtherMethod = "_OTHER";

    private readonly ConcurrentDictionary<(string Method, string Call, int Status), Series> _series = new();
    private readonly Tally _active, _replays;
    private readonly Counter<long> _storeErrors;
    private readonly Histogram<double> _duration;

    public CallMeter(ServiceMeter service)
    {
        _active = service.Level("bnservice.http.requests.active", "{request}", "Requests that are being answered.");
        service.Meter.CreateObservableCounter("bnservice.http.requests", () =>
            All(series => series.Requests), "{request}", "Requests that were answered.");
        _duration = service.Seconds("bnservice.http.request.duration", "Time from the head of a request to the end of its answer.",
            ServiceMeter.RequestBounds);
        service.Meter.CreateObservableCounter("bnservice.http.request", () =>
            All(series => series.RequestBytes), "By", "Bytes of request bodies that were read, after decompression.");
        service.Meter.CreateObservableCounter("bnservice.http.response", () =>
            All(series => series.ResponseBytes), "By", "Bytes of answers' bodies.");
        _replays = service.Count("bnservice.idempotent.replays", "{request}",
            "Requests that were answered as the first with their Idempotency-Key.");
        _storeErrors = service.Meter.CreateCounter<long>("bnservice.store.errors", "{request}",
            "Requests that failed because the store was away or full, or what it has is damaged.");
    }

    /// <summary>A request has come.</summary>
    public void Begun() => _active.Add(1);

    /// <summary>A request has been answered, or given up.</summary>
    /// <param name="method">Its method.</param>
    /// <param name="call">Template of its path.</param>
    /// <param name="status">Status of the answer.</param>
    /// <param name="elapsed">What it took.</param>
    /// <param name="request">What it has moved.</param>
    /// <param name="isReplayed">Whether it was answered as another one before.</param>
    public void Answered(string method, string call, int status, TimeSpan elapsed, RequestContext request, bool isReplayed)
    {
        _active.Add(-1);
        if (isReplayed) _replays.Add(1);
        // One look for all of them, and nothing is allocated: small requests take little longer than being counted would otherwise.
        var series = _series.GetOrAdd((Known(method), call, status), static key => new Series(key.Method, key.Call, key.Status));
        series.Requests.Add(1);
        series.RequestBytes.Add(request.BodyBytes);
        series.ResponseBytes.Add(request.AnswerBytes);
        _duration.Record(elapsed.TotalSeconds, series.Tags);
    }

    /// <summary>The store has failed a request.</summary>
    /// <param name="error">How: one of a few words.</param>
    public void StoreFailed(string error) => _storeErrors.Add(1, new KeyValuePair<string, object?>("error", error));

    // A client may send any word: each would be a series for ever.
    private static string Known(string method) =>
        method is "GET" or "POST" or "PUT" or "PATCH" or "DELETE" or "HEAD" or "OPTIONS" ? method : OtherMethod;

    private IEnumerable<Measurement<long>> All(Func<Series, Tally> counter) =>
        _series.Select(entry => new Measurement<long>(counter(entry.Value).Value, entry.Value.Tags));

    private sealed class Series(string method, string call, int status)
    {
        public KeyValuePair<string, object?>[] Tags { get; } =
            [new("method", method), new("call", call), new("status", status.ToString(CultureInfo.InvariantCulture))];

        public Tally Requests { get; } = new();

        public Tally RequestBytes { get; } = new();

        public Tally ResponseBytes { get; } = new();
    }
}
