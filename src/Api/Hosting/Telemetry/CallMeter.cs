using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>Requests and their answers, by method, call and status.</summary>
internal sealed class CallMeter
{
    private const string OtherMethod = "_OTHER";
    private static readonly ConcurrentDictionary<int, string> Statuses = new();

    private readonly Tally _active, _replays;
    private readonly Counter<long> _requests, _requestBytes, _responseBytes, _storeErrors;
    private readonly Histogram<double> _duration;

    public CallMeter(ServiceMeter service)
    {
        _active = service.Level("bnservice.http.requests.active", "{request}", "Requests that are being answered.");
        _requests = service.Meter.CreateCounter<long>("bnservice.http.requests", "{request}", "Requests that were answered.");
        _duration = service.Seconds("bnservice.http.request.duration", "Time from the head of a request to the end of its answer.", ServiceMeter.RequestBounds);
        _requestBytes = service.Meter.CreateCounter<long>("bnservice.http.request", "By", "Bytes of request bodies that were read, after decompression.");
        _responseBytes = service.Meter.CreateCounter<long>("bnservice.http.response", "By", "Bytes of answers' bodies.");
        _replays = service.Count("bnservice.idempotent.replays", "{request}", "Requests that were answered as the first with their Idempotency-Key.");
        _storeErrors = service.Meter.CreateCounter<long>("bnservice.store.errors", "{request}", "Requests that failed because the store was away or full.");
    }

    /// <summary>A request has come.</summary>
    public void Begun() => _active.Add(1);

    /// <summary>A request has been answered, or given up.</summary>
    /// <param name="method">Its method.</param>
    /// <param name="call">Template of its path.</param>
    /// <param name="status">Status of the answer.</param>
    /// <param name="elapsed">What it took.</param>
    /// <param name="metering">What it has moved.</param>
    /// <param name="isReplayed">Whether it was answered as another one before.</param>
    public void Answered(string method, string call, int status, TimeSpan elapsed, RequestMetering metering, bool isReplayed)
    {
        _active.Add(-1);
        if (isReplayed) _replays.Add(1);
        // On the stack, and of strings that are there already: a request allocates nothing for being counted.
        var tags = new TagList { { "method", Known(method) }, { "call", call }, { "status", TextOf(status) } };
        _requests.Add(1, in tags);
        _duration.Record(elapsed.TotalSeconds, in tags);
        _requestBytes.Add(metering.BodyBytes, in tags);
        _responseBytes.Add(metering.AnswerBytes, in tags);
    }

    /// <summary>The store has failed a request.</summary>
    /// <param name="error">How: one of a few words.</param>
    public void StoreFailed(string error) => _storeErrors.Add(1, new KeyValuePair<string, object?>("error", error));

    // A client may send any word: each would be a series for ever.
    private static string Known(string method) =>
        method is "GET" or "POST" or "PUT" or "PATCH" or "DELETE" or "HEAD" or "OPTIONS" ? method : OtherMethod;

    private static string TextOf(int status) => Statuses.GetOrAdd(status, number => number.ToString(CultureInfo.InvariantCulture));
}
