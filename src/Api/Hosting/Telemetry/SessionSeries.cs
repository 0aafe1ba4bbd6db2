using System.Runtime.CompilerServices;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// The series of sessions that are in memory: of the most recently used ones, up to <c>Telemetry:SessionSeries</c>, each has its own, and
/// the counters of all others are one more, <see cref="Other"/>. Gathered from what sessions count anyway: requests pay nothing for it.
/// </summary>
internal sealed class SessionSeries(ResidentSessions resident, IOptions<TelemetryOptions> options)
{
    /// <summary>Stands for the sessions that are not listed: no session can have this name.</summary>
    public const string Other = "_other";

    private const string Live = "live";

    private readonly OtherSeries _steps = new(1), _inferences = new(InferenceCounters.Width);

    /// <summary>Writes all series. One at a time.</summary>
    public void Write(PrometheusText text)
    {
        var listed = Listed(out var others);
        WriteSteps(text, listed, others);
        WriteLevels(text, listed);
        InferenceCounters.Write(text, Inferences(listed, others));
    }

    /// <summary>Writes the statistics of infer requests with Triton's names and types. One at a time.</summary>
    public void WriteInferences(PrometheusText text) => InferenceCounters.WriteTriton(text, Inferences(Listed(out var others), others));

    private List<LayerSession> Listed(out List<LayerSession> others)
    {
        others = [];
        var (newest, limit) = (new PriorityQueue<LayerSession, long>(), options.Value.SessionSeries);
        foreach (var session in resident.All)
        {
            newest.Enqueue(session, session.LastUse);
            if (newest.Count > limit) others.Add(newest.Dequeue());
        }
        return [.. newest.UnorderedItems.Select(item => item.Element).OrderBy(session => session.Current.Name, StringComparer.Ordinal)];
    }

    private void WriteSteps(PrometheusText text, List<LayerSession> listed, List<LayerSession> others)
    {
        const string name = "bnservice_session_train_steps_total";
        var series = new List<(string Labels, long Steps)>();
        foreach (var session in listed)
        {
            if (session.Traffic.StepsTaken is var steps and > 0) series.Add((Labels(session), _steps.List(session.Traffic, [steps])[0]));
        }
        foreach (var session in others)
        {
            if (session.Traffic.StepsTaken is var steps and > 0) _steps.Leave(session.Traffic, [steps]);
        }
        _steps.End();
        if (_steps.Others[0] > 0) series.Add((PrometheusText.Label("session", Other), _steps.Others[0]));
        Write(text, name, "counter", "Train-steps of a session that this node has made.",
            series.Select(one => (one.Labels, (double)one.Steps)));
    }

    private static void WriteLevels(PrometheusText text, List<LayerSession> listed)
    {
        List<(string, double)> tracked = [], divergence = [], probability = [], drifting = [];
        foreach (var session in listed)
        {
            var (labels, layer) = (Labels(session), session.Current.Layer);
            if (layer.Running is not { } running) continue;
            tracked.Add((labels, running.BatchesTracked));
            foreach (var (traffic, drift) in new[]
            {
                ("train", session.Traffic.LastStep?.Drift), (
                    "inference", Diagnosis.DriftOf(session.Traffic.Inference?.Statistics, running)),
            })
            {
                if (drift is null) continue;
                var both = $"{labels},{PrometheusText.Label("traffic", traffic)}";
                divergence.Add((both, drift.Divergence));
                probability.Add((both, drift.PValue));
                drifting.Add((both, drift.IsRelevant ? 1 : 0));
            }
        }
        Write(text, "bnservice_session_batches_tracked", "gauge",
            "Batches that have moved a session's running statistics (num_batches_tracked).", tracked);
        Write(text, "bnservice_session_drift_nats", "gauge",
            "Largest Kullback-Leibler divergence of a channel of a session's last batch from the running statistics.", divergence);
        Write(text, "bnservice_session_drift_p_value", "gauge", "Probability of so much drift if nothing had changed.", probability);
        Write(text, "bnservice_session_drifting", "gauge", "1 where that is as much as matters, and not by chance.", drifting);
    }

    private IReadOnlyList<InferenceCounters> Inferences(List<LayerSession> listed, List<LayerSession> others)
    {
        var (series, limit) = (new List<InferenceCounters>(), options.Value.SessionSeries);
        // A session may have many snapshots: the limit is on what is shown of all of them.
        foreach (var session in listed)
        {
            foreach (var (version, tally) in session.Traffic.Inferences)
            {
                if (InferenceCounters.Of(tally.Totals) is not { } counters) continue;
                if (series.Count >= limit) _inferences.Leave(tally, counters);
                else series.Add(new(session.Current.Name, version.Length == 0 ? Live : version, _inferences.List(tally, counters)));
            }
        }
        foreach (var (_, tally) in others.SelectMany(session => session.Traffic.Inferences))
        {
            if (InferenceCounters.Of(tally.Totals) is { } counters) _inferences.Leave(tally, counters);
        }
        _inferences.End();
        if (_inferences.Others.Any(counter => counter > 0)) series.Add(new(Other, Other, (long[])_inferences.Others.Clone()));
        return series;
    }

    private static string Labels(LayerSession session) => PrometheusText.Label("session", session.Current.Name);

    private static void Write(PrometheusText text, string name, string type, string help, IEnumerable<(string Labels, double Value)> series)
    {
        text.Family(name, type, help);
        foreach (var (labels, value) in series) text.Sample(name, labels, value);
    }
}

/// <summary>
/// Counters of which only some are listed and the others are one series. Whatever is counted is in exactly one of them and stays there:
/// whoever is listed shows what it has counted since, and leaves it to the others when it is listed no longer or is gone. So no series
/// goes back as long as it is listed, and the sum is the sum of all. Not for several threads.
/// </summary>
/// <param name="width">Number of counters of each.</param>
internal sealed class OtherSeries(int width)
{
    // What of each is with the others already.
    private readonly ConditionalWeakTable<object, long[]> _left = [];
    private Dictionary<object, long[]> _listedBefore = [], _listed = [];

    /// <summary>The counters of all that are not listed.</summary>
    public long[] Others { get; } = new long[width];

    /// <summary>What one that is listed shows.</summary>
    /// <param name="key">The one.</param>
    /// <param name="counters">What it has counted altogether.</param>
    public long[] List(object key, long[] counters)
    {
        var shown = (long[])counters.Clone();
        if (_left.TryGetValue(key, out var left)) Add(shown, left, -1);
        return _listed[key] = shown;
    }

    /// <summary>Leaves one that is not listed to the others.</summary>
    /// <param name="key">The one.</param>
    /// <param name="counters">What it has counted altogether.</param>
    public void Leave(object key, long[] counters)
    {
        _listedBefore.Remove(key);
        Add(Others, counters, 1);
        if (_left.TryGetValue(key, out var left)) Add(Others, left, -1);
        _left.AddOrUpdate(key, (long[])counters.Clone());
    }

    /// <summary>All have been listed or left: what was listed before and is gone is left to the others as it was.</summary>
    public void End()
    {
        foreach (var (key, shown) in _listedBefore)
        {
            if (!_listed.ContainsKey(key)) Add(Others, shown, 1);
        }
        (_listedBefore, _listed) = (_listed, _listedBefore);
        _listed.Clear();
    }

    private static void Add(long[] sum, long[] more, int sign)
    {
        for (var i = 0; i < sum.Length; i++) sum[i] += sign * more[i];
    }
}

/// <summary>What the infer requests of a model came to, in the order of <see cref="Families"/>.</summary>
/// <param name="Model">Name of the model.</param>
/// <param name="Version">Its version.</param>
/// <param name="Values">Counts, and nanoseconds.</param>
internal sealed record InferenceCounters(string Model, string Version, long[] Values)
{
    /// <summary>Number of counters.</summary>
    public const int Width = 9;

    // The first four count, the others are times.
    private const int Counts = 4;
    private const double NanosecondsPerSecond = 1e9, NanosecondsPerMicrosecond = 1e3;
    private const string Seconds = "bnservice_inference_seconds_total";

    private static readonly (string Name, string Phase, string Help)[] Families =
    [
        ("nv_inference_request_success", "", "Infer requests that were answered."),
        ("nv_inference_request_failure", "", "Infer requests that were refused or given up."),
        ("nv_inference_count", "", "Samples that were inferred."),
        ("nv_inference_exec_count", "", "Batches that were inferred."),
        ("nv_inference_request_duration_us", "request", "Microseconds from an infer request to its answer."),
        ("nv_inference_queue_duration_us", "queue", "Microseconds of waiting for the bodies of infer requests."),
        ("nv_inference_compute_input_duration_us", "compute_input", "Microseconds of reading the tensors of infer requests."),
        ("nv_inference_compute_infer_duration_us", "compute_infer", "Microseconds of normalizing for infer requests."),
        ("nv_inference_compute_output_duration_us", "compute_output", "Microseconds of writing what was normalized."),
    ];

    private string Labels => $"{PrometheusText.Label("model", Model)},{PrometheusText.Label("version", Version)}";

    /// <summary>The counters of totals; null where there was no request.</summary>
    public static long[]? Of(InferenceTotals totals) => totals.Success.Count + totals.Fail.Count == 0 ? null :
    [
        totals.Success.Count, totals.Fail.Count, totals.Samples, totals.Infer.Count, totals.Success.Nanoseconds, totals.Queue.Nanoseconds,
        totals.Input.Nanoseconds, totals.Infer.Nanoseconds, totals.Output.Nanoseconds,
    ];

    /// <summary>
    /// Writes them as promtool accepts them. It refuses counters without <c>_total</c>, which Triton's are, so that they have no type; and
    /// names with <c>_us</c> altogether, so that times are in seconds under a name of the service's.
    /// </summary>
    public static void Write(PrometheusText text, IReadOnlyList<InferenceCounters> series)
    {
        for (var i = 0; i < Counts; i++) WriteFamily(text, i, "untyped", series, 1);
        text.Family(Seconds, "counter", "Time of infer requests by phase, as Triton has it under names that end in _us.");
        foreach (var one in series)
        {
            for (var i = Counts; i < Width; i++)
                text.Sample(Seconds, $"{one.Labels},{PrometheusText.Label("phase", Families[i].Phase)}",
                    one.Values[i] / NanosecondsPerSecond);
        }
    }

    /// <summary>Writes them with the names and types that Triton's have.</summary>
    public static void WriteTriton(PrometheusText text, IReadOnlyList<InferenceCounters> series)
    {
        for (var i = 0; i < Width; i++) WriteFamily(text, i, "counter", series, i < Counts ? 1 : NanosecondsPerMicrosecond);
    }

    private static void WriteFamily(PrometheusText text, int family, string type, IReadOnlyList<InferenceCounters> series, double unit)
    {
        var (name, _, help) = Families[family];
        text.Family(name, type, help);
        foreach (var one in series) text.Sample(name, one.Labels, Math.Floor(one.Values[family] / unit));
    }
}
