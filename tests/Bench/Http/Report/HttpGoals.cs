using BnService.Bench.Http.Servers;
using BnService.Bench.Report;
using BnService.Bench.Timing;
using static BnService.Bench.Http.HttpNames;

namespace BnService.Bench.Http.Report;

/// <summary>The goals for HTTP, each for every row that it is about.</summary>
/// <param name="cells">The rows.</param>
/// <param name="startUp">What starting takes.</param>
/// <param name="sendsAllFirst">What became of a client that does not read while it sends.</param>
internal sealed class HttpGoals(IReadOnlyList<HttpCell> cells, StartUp startUp, SendsAllFirst sendsAllFirst)
{
    private const long Large = 25 << 20, Medium = 1 << 20;

    private readonly HttpCell[] _binary = [.. cells.Where(cell => !cell.Case.IsJson)];

    /// <summary>All of them.</summary>
    public IEnumerable<Goal> All =>
    [
        Goal.Judge("H1", "binary inference ≥ 0.95 of the echo in our configuration, every size",
            _binary.Select(cell => AtLeast(cell, OwnEcho, Inference, 0.95))),
        Goal.Judge("H2", "25 MB, 1 connection: ≥ 0.70 of the echo in C; 1 MB and 25 MB, 4 connections: ≥ 0.50",
            _binary.Where(cell => cell.Case is { Connections: 4, Bytes: >= Medium } or { Connections: 1, Bytes: Large })
                .Select(cell => AtLeast(cell, RawEcho, Inference, cell.Case.Connections == 1 ? 0.7 : 0.5))),
        Goal.Judge("H3", "25 MB: ≥ 2.5 × the echo on default Kestrel",
            _binary.Where(cell => cell.Case.Bytes == Large).Select(cell => AtLeast(cell, DefaultEcho, Inference, 2.5))),
        Goal.Judge("H4", "FastAPI with binary bodies: ≥ 4 × at 25 MB, ≥ 1.5 × at 1 MB, ≥ 2 × at 64 KB, ≥ 5 × at 4 KB",
            _binary.Select(cell => AtLeast(cell, TorchInference, Inference, FastApiBound(cell)))),
        Goal.Judge("H5", "binary train-step ≥ 0.75 of binary inference at 25 MB, ≥ 0.6 at 1 MB",
            _binary.Where(cell => cell.Case.Bytes >= Medium)
                .Select(cell => AtLeast(cell, Inference, TrainStep, cell.Case.Bytes == Large ? 0.75 : 0.6))),
        Goal.Judge("H6", "JSON end to end: ≥ 3 × System.Text.Json binding, ≥ 8 × FastAPI with json.loads",
            cells.Where(cell => cell.Case.IsJson).SelectMany(cell => (GoalRow[])
                [AtLeast(cell, Binding, Inference, 3), AtLeast(cell, TorchInference, Inference, 8)])),
        new("H7", "a client that sends all before it reads completes at the largest body allowed",
            sendsAllFirst.Flaw is null ? "met" : "missed", sendsAllFirst.Flaw ?? $"{SendsAllFirst.Name}: {sendsAllFirst.Seconds:F1} s"),
        Goal.Judge("H8", "ready within 250 ms of start and 64 MB resident (storage in memory, no sessions)",
        [
            new("ready, ms", startUp.ReadyMilliseconds, 250, IsCeiling: true),
            new("resident, MB", startUp.ResidentMegabytes, 64, IsCeiling: true),
        ]),
    ];

    private static double FastApiBound(HttpCell cell) => cell.Case.Bytes switch
    {
        >= Large => 4,
        >= Medium => 1.5,
        >= 64 << 10 => 2,
        _ => 5,
    };

    // Client and server have all cores between them: what others take is missing.
    private static GoalRow AtLeast(HttpCell cell, string other, string judged, double bound)
    {
        var name = cell.Case.IsJson ? $"{cell}, {other}" : $"{cell}";
        return new(name, cell.Disturbance > Machine.TooMuch ? null : cell.Ratio(other, judged), bound, IsCeiling: false);
    }
}
