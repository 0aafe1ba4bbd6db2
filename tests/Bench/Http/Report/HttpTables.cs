using BnService.Bench.Report;
using static BnService.Bench.Http.HttpNames;
using static BnService.Bench.Report.MarkdownTable;

namespace BnService.Bench.Http.Report;

/// <summary>The tables of the HTTP bench, in Markdown.</summary>
internal static class HttpTables
{
    private static readonly string[] BinaryContenders =
        [Inference, TrainStep, OpenInference, OwnEcho, DefaultEcho, RawEcho, TorchInference, TorchTrainStep];

    /// <summary>A row in one line, while the run goes on.</summary>
    public static string InShort(HttpCell cell) => cell.Case.IsJson
        ? $"inference/binding {Ratio(cell, Inference, Binding)}, /FastAPI {Ratio(cell, Inference, TorchInference)}"
        : $"inference/echo {Ratio(cell, Inference, OwnEcho)}, /C {Ratio(cell, Inference, RawEcho)}, "
            + $"/FastAPI {Ratio(cell, Inference, TorchInference)}, train-step/inference {Ratio(cell, TrainStep, Inference)}";

    /// <summary>How many times faster than what.</summary>
    public static string Binary(IEnumerable<HttpCell> cells)
    {
        var table = new MarkdownTable(
            "body, connections", "inference / echo, our configuration", "inference / echo, default", "inference / echo in C",
            "inference / FastAPI", "train-step / inference", "train-step / FastAPI", "infer (OIP) / inference", "others");
        foreach (var cell in cells)
        {
            table.Add(
                cell.Case.Name, Ratio(cell, Inference, OwnEcho), Ratio(cell, Inference, DefaultEcho), Ratio(cell, Inference, RawEcho),
                Ratio(cell, Inference, TorchInference), Ratio(cell, TrainStep, Inference), Ratio(cell, TrainStep, TorchTrainStep),
                Ratio(cell, OpenInference, Inference), Number(cell.Disturbance, "P0"));
        }
        return table.ToString();
    }

    /// <summary>The same for JSON.</summary>
    public static string Json(IEnumerable<HttpCell> cells)
    {
        var table = new MarkdownTable(
            "case", "ours ms", "ours / System.Text.Json binding", "ours / FastAPI json.loads", "simdjson, reading alone, ms", "others");
        foreach (var cell in cells)
        {
            table.Add(
                cell.Case.Name, Number(cell.Time(Inference) / 1000, "F1"), Ratio(cell, Inference, Binding),
                Ratio(cell, Inference, TorchInference), Number(cell.Time(SimdJson) / 1000, "F1"), Number(cell.Disturbance, "P0"));
        }
        return table.ToString();
    }

    /// <summary>Megabytes in a second, one way.</summary>
    public static string Throughput(IEnumerable<HttpCell> cells) =>
        OfContenders(cells, "body, connections", (cell, name) => Mark(cell, name) ?? Number(cell.Throughput(name), "F0"));

    /// <summary>Median and 99th percentile.</summary>
    public static string Latencies(IEnumerable<HttpCell> cells) =>
        OfContenders(cells, "p50, p99 in µs", (cell, name) => Mark(cell, name) ?? (cell.Latencies.GetValueOrDefault(name) is { } latency
            ? $"{Number(latency.Median, "F0")}, {Number(latency.High, "F0")}" : Number(null, "F0")));

    private static string OfContenders(IEnumerable<HttpCell> cells, string corner, Func<HttpCell, string, string> content)
    {
        var table = new MarkdownTable([corner, .. BinaryContenders]);
        foreach (var cell in cells) table.Add([cell.Case.Name, .. BinaryContenders.Select(name => content(cell, name))]);
        return table.ToString();
    }

    // Faster is more: the time of the other over that of the first.
    private static string Ratio(HttpCell cell, string of, string to) =>
        Mark(cell, of) ?? Mark(cell, to) ?? Number(cell.Ratio(to, of), "F2");

    private static string? Mark(HttpCell cell, string name) => cell.Flaws.ContainsKey(name) ? "FAILS" : null;
}
