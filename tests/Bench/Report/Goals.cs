using BnService.Bench.Cases;
using BnService.Bench.Timing;
using BnService.Core.Simd;

namespace BnService.Bench.Report;

/// <summary>The goals for the kernels, each for every row that it is about.</summary>
/// <param name="cells">The rows; those of cases that no goal is about are left out.</param>
/// <param name="dispatching">What a second thread costs; null where it was not measured.</param>
/// <param name="width">The width at which ours is judged.</param>
internal sealed class Goals(IEnumerable<Cell> cells, Dispatching? dispatching, VectorWidth width)
{
    // Two measurements of one and the same thing differ by so much.
    private const double Noise = 1.03;

    private readonly Cell[] _cells = [.. cells.Where(cell => BenchCase.Judged.Contains(cell.Case))];

    /// <summary>All of them.</summary>
    public IEnumerable<Goal> All =>
    [
        Goal.Judge("K1", "inference ≥ 0.95 of the best copy",
            Where(Operation.Inference).Select(cell => AtMost(cell, OfLimit(cell), 1 / 0.95))),
        Goal.Judge("K2", "training forward ≤ 1.10 × (2R+1W) out of cache, ≤ 0.85 for nchw 32x64x56x56 on 2 threads; in cache ≤ 1.4",
            Where(Operation.Train).Select(cell => AtMost(cell, OfLimit(cell), TrainBound(cell)))),
        Goal.Judge("K3", "backward ≤ 1.00 × (4R+1W) out of cache; in cache ≤ 1.8 × (a+b)",
            Where(Operation.Backward).Select(cell => AtMost(cell, OfLimit(cell), cell.Case.IsOutOfCache ? 1 : 1.8))),
        Goal.Judge("K4", "oneDNN on 1 thread: ≥ 1.0, dense ≥ 1.7, channels last ≥ 1.3",
            _cells.Where(cell => cell.Threads == 1).Select(cell => AtLeast(cell, Names.OneDnn, OneDnnBound(cell)))),
        Goal.Judge("K5", "PyTorch on 2 threads, memory reused: ≥ 1.0, training ≥ 1.3, nchw training ≥ 5; by default ≥ 3",
            _cells.Where(cell => cell.Threads == 2).SelectMany(cell => (GoalRow[])
                [AtLeast(cell, Names.Torch, TorchBound(cell)), AtLeast(cell, Names.TorchDefault, 3)])),
        Goal.Judge("K7", "dispatch ≤ 1 µs hot; 2 threads never slower than 1", SecondThread()),
        Goal.Judge("K8", "composed of TensorPrimitives: ≥ 2", _cells.Select(cell => AtLeast(cell, Names.Composed, 2))),
        Goal.Judge("K9", "statistics in double cost ≤ 15 % of the training forward in cache and ≤ 6 % out of it against float, 1 thread",
            Where(Operation.Train).Where(cell => cell.Threads == 1).Select(cell =>
                new GoalRow($"{cell}", Tables.DoubleCost(cell, width), cell.Case.IsOutOfCache ? 1.06 : 1.15, IsCeiling: true))),
    ];

    private IEnumerable<Cell> Where(Operation operation) => _cells.Where(cell => cell.Operation == operation);

    private double? OfLimit(Cell cell) => cell.Time(Names.Ours(width)) / cell.LimitTime;

    private static double TrainBound(Cell cell) => cell switch
    {
        { Case.IsOutOfCache: false } => 1.4,
        { Case.Layout: Layout.ChannelsFirst, Threads: 2 } => 0.85,
        _ => 1.1,
    };

    private static double OneDnnBound(Cell cell) => cell.Case.Layout switch
    {
        Layout.Dense => 1.7,
        Layout.ChannelsLast => 1.3,
        _ => 1,
    };

    private static double TorchBound(Cell cell) => cell switch
    {
        { Operation: not Operation.Train } => 1,
        { Case.Layout: Layout.ChannelsFirst } => 5,
        _ => 1.3,
    };

    // A second thread that has to wait for somebody else's proves nothing, either way.
    private static double? Trusted(Cell cell, double? value) => cell is { Threads: > 1, Disturbance: > Machine.TooMuch } ? null : value;

    private static GoalRow AtMost(Cell cell, double? value, double bound) => new($"{cell}", Trusted(cell, value), bound, IsCeiling: true);

    private GoalRow AtLeast(Cell cell, string peer, double bound)
    {
        var name = peer == Names.TorchDefault ? $"{cell} (default)" : $"{cell}";
        return new(name, Trusted(cell, Tables.PeerRatio(cell, peer, width)), bound, IsCeiling: false);
    }

    private IEnumerable<GoalRow> SecondThread()
    {
        if (dispatching is null) return [];
        return _cells.Where(cell => cell.Threads == 2).Concat(dispatching.SmallCells)
            .Select(cell => AtMost(cell, cell.Ratio(Names.Ours(width), Names.OursOnOneThread), Noise))
            .Prepend(new GoalRow(
                "dispatch, µs", dispatching.Disturbance > Machine.TooMuch ? null : dispatching.Meeting, 1, IsCeiling: true));
    }
}
