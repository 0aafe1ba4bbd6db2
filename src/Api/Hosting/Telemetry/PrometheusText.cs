using System.Buffers;
using System.Globalization;
using System.Text;

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
