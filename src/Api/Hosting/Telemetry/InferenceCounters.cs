using BnService.Api.Sessions;

namespace BnService.Api.Hosting.Telemetry;

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
                text.Sample(Seconds, $"{one.Labels},{PrometheusText.Label("phase", Families[i].Phase)}", one.Values[i] / NanosecondsPerSecond);
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
