using System.Globalization;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// Writes what OpenTelemetry has gathered as Prometheus's text, when it is asked for. Names become Prometheus's as OpenTelemetry
/// lays down: characters, then the unit, then <c>_total</c> for what only grows.
/// </summary>
/// <remarks>OpenTelemetry's own answers the whole request: the series of sessions, which come and go, could not be on the same page.</remarks>
[ExportModes(ExportModes.Pull)]
internal sealed class PrometheusExporter(PrometheusText text) : BaseExporter<Metric>, IPullMetricExporter
{
    /// <inheritdoc/>
    public Func<int, bool>? Collect { get; set; }

    /// <inheritdoc/>
    public override ExportResult Export(in Batch<Metric> batch)
    {
        var metrics = new List<(string Family, Metric Metric)>();
        foreach (var metric in batch) metrics.Add((FamilyOf(metric), metric));
        // The order in which instruments were made is nobody's business.
        metrics.Sort((one, other) => string.CompareOrdinal(one.Family, other.Family));
        foreach (var (family, metric) in metrics) Write(family, metric);
        return ExportResult.Success;
    }

    private static bool OnlyGrows(Metric metric) => metric.MetricType is MetricType.LongSum or MetricType.DoubleSum;

    // Prometheus keeps the suffix _count for histograms: the runtime's numbers that are called so (dotnet_timer_count) have no type.
    private static string TypeOf(string family, Metric metric) => metric.MetricType == MetricType.Histogram ? "histogram"
        : OnlyGrows(metric) ? "counter"
        : family.EndsWith("_count", StringComparison.Ordinal) ? "untyped" : "gauge";

    private static string FamilyOf(Metric metric)
    {
        var name = PrometheusText.Name(metric.Name);
        var unit = metric.Unit switch
        {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "", // {annotations} say what is counted, and are no units
        };
        if (!name.EndsWith(unit, StringComparison.Ordinal)) name += unit;
        return OnlyGrows(metric) && !name.EndsWith("_total", StringComparison.Ordinal) ? name + "_total" : name;
    }

    private void Write(string family, Metric metric)
    {
        text.Family(family, TypeOf(family, metric), metric.Description);
        foreach (ref readonly var point in metric.GetMetricPoints())
        {
            var labels = LabelsOf(point);
            switch (metric.MetricType)
            {
                case MetricType.Histogram:
                    text.Histogram(family, labels, BucketsOf(point), point.GetHistogramSum());
                    break;
                case MetricType.LongSum or MetricType.LongSumNonMonotonic:
                    text.Sample(family, labels, point.GetSumLong());
                    break;
                case MetricType.DoubleSum or MetricType.DoubleSumNonMonotonic:
                    text.Sample(family, labels, point.GetSumDouble());
                    break;
                case MetricType.LongGauge:
                    text.Sample(family, labels, point.GetGaugeLastValueLong());
                    break;
                case MetricType.DoubleGauge:
                    text.Sample(family, labels, point.GetGaugeLastValueDouble());
                    break;
            }
        }
    }

    private static List<(double Bound, long Count)> BucketsOf(in MetricPoint point)
    {
        var buckets = new List<(double Bound, long Count)>();
        foreach (var bucket in point.GetHistogramBuckets()) buckets.Add((bucket.ExplicitBound, bucket.BucketCount));
        return buckets;
    }

    private static string LabelsOf(in MetricPoint point)
    {
        var labels = new List<string>();
        foreach (var (name, value) in point.Tags)
            labels.Add(PrometheusText.Label(PrometheusText.Name(name), TextOf(value)));
        return string.Join(',', labels);
    }

    private static string TextOf(object? value) => value switch
    {
        true => "true",
        false => "false",
        _ => Convert.ToString(value, CultureInfo.InvariantCulture) ?? "",
    };
}
