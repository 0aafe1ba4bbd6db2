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
        Write(text, name, "counter", "Train-steps of a session that this node has made.", series.Select(one => (one.Labels, (double)one.Steps)));
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
                ("train", session.Traffic.LastStep?.Drift), ("inference", Diagnosis.DriftOf(session.Traffic.Inference?.Statistics, running)),
            })
            {
                if (drift is null) continue;
                var both = $"{labels},{PrometheusText.Label("traffic", traffic)}";
                divergence.Add((both, drift.Divergence));
                probability.Add((both, drift.PValue));
                drifting.Add((both, drift.IsRelevant ? 1 : 0));
            }
        }
        Write(text, "bnservice_session_batches_tracked", "gauge", "Batches that have moved a session's running statistics (num_batches_tracked).", tracked);
        Write(text, "bnservice_session_drift_nats", "gauge", "Largest Kullback-Leibler divergence of a channel of a session's last batch from the running statistics.", divergence);
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
