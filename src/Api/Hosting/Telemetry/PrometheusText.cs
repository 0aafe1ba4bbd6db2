using System.Buffers;
using System.Globalization;
using System.Text;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// Writes metrics in Prometheus's text format, version 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
/// </summary>
internal sealed class PrometheusText
{
    /// <summary>The format's media type.</summary>
    public const string MediaType = "text/plain; version=0.0.4; charset=utf-8";

    private readonly ArrayBufferWriter<byte> _bytes = new(64 << 10);

    /// <summary>What has been written.</summary>
    public ReadOnlySpan<byte> Written => _bytes.WrittenSpan;

    /// <summary>Forgets what has been written.</summary>
    public void Clear() => _bytes.ResetWrittenCount();

    /// <summary>Begins a family.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="type">Its type.</param>
    /// <param name="help">What it means.</param>
    public void Family(string name, string type, string help)
    {
        Append("# HELP ", name, " ");
        // A quotation mark stays as it is here.
        Append(help.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal));
        Append("\n# TYPE ", name, " ");
        Append(type, "\n");
    }

    /// <summary>Writes one value of the family that was begun last.</summary>
    /// <param name="name">The family's name, perhaps with a suffix.</param>
    /// <param name="labels">Labels as <see cref="Label"/> makes them, or nothing.</param>
    /// <param name="value">The value.</param>
    public void Sample(string name, string labels, double value)
    {
        Append(name);
        if (labels.Length > 0) Append("{", labels, "}");
        Append(" ", Number(value), "\n");
    }

    /// <summary>Writes one histogram of the family that was begun last.</summary>
    /// <param name="name">The family's name.</param>
    /// <param name="labels">Its labels.</param>
    /// <param name="buckets">Upper bounds and how many are in each bucket alone; the last bound is infinite.</param>
    /// <param name="sum">Sum of what was recorded.</param>
    public void Histogram(string name, string labels, IEnumerable<(double Bound, long Count)> buckets, double sum)
    {
        var (bucket, before, count) = (name + "_bucket", labels.Length > 0 ? labels + "," : "", 0L);
        foreach (var (bound, more) in buckets)
        {
            count += more;
            Sample(bucket, before + Label("le", Number(bound)), count);
        }
        Sample(name + "_sum", labels, sum);
        Sample(name + "_count", labels, count);
    }

    /// <summary>A label: its name and its value.</summary>
    public static string Label(string name, string value)
    {
        if (value.AsSpan().IndexOfAny('\\', '"', '\n') >= 0)
        {
            value = value.Replace("\\", "\\\\", StringComparison.Ordinal)
                .Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
        }
        return $"{name}=\"{value}\"";
    }

    /// <summary>A name in the characters that the format allows.</summary>
    public static string Name(string name)
    {
        var allowed = string.Create(name.Length, name, (characters, original) =>
        {
            for (var i = 0; i < characters.Length; i++) characters[i] = char.IsAsciiLetterOrDigit(original[i]) ? original[i] : '_';
        });
        return allowed.Length > 0 && char.IsAsciiDigit(allowed[0]) ? "_" + allowed : allowed;
    }

    private static string Number(double value) =>
        double.IsPositiveInfinity(value) ? "+Inf" : double.IsNegativeInfinity(value) ? "-Inf" : double.IsNaN(value) ? "NaN"
        : value.ToString("R", CultureInfo.InvariantCulture).Replace('E', 'e');

    private void Append(string first, string second = "", string third = "")
    {
        Encoding.UTF8.GetBytes(first, _bytes);
        if (second.Length > 0) Encoding.UTF8.GetBytes(second, _bytes);
        if (third.Length > 0) Encoding.UTF8.GetBytes(third, _bytes);
    }
}

/// <summary>
/// Writes what OpenTelemetry has gathered as Prometheus's text, when it is asked for. Names become Prometheus's as OpenTelemetry lays down:
/// characters, then the unit, then <c>_total</c> for what only grows.
/// </summary>
/// <remarks>
/// OpenTelemetry's own answers the whole request: the series of sessions, which come and go, could not be on the same page.
/// </remarks>
[ExportModes(ExportModes.Pull)]
internal sealed class PrometheusExporter(PrometheusText text) : BaseExporter<Metric>, IPullMetricExporter
{
    public Func<int, bool>? Collect { get; set; }

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
