using System.Diagnostics;
using BnService.Bench.Cases;
using BnService.Bench.Contenders;
using BnService.Bench.Timing;
using BnService.Core.Simd;

namespace BnService.Bench;

/// <summary>Brings the contenders of each cell together: whoever gives a wrong result is named and not timed.</summary>
internal sealed class Contest : IDisposable
{
    private readonly BenchOptions _options;
    private readonly TorchPeer[] _torch;

    /// <summary>Starts PyTorch; the native peers must have been provided.</summary>
    public Contest(BenchOptions options)
    {
        _options = options;
        _torch = [.. new[] { (Name: Names.Torch, ReusesMemory: true), (Name: Names.TorchDefault, ReusesMemory: false) }
            .AsParallel().AsOrdered().Select(peer => TorchPeer.Start(peer.Name, peer.ReusesMemory)).OfType<TorchPeer>()];
    }

    /// <summary>What could be had.</summary>
    public IEnumerable<string> Notes
    {
        get
        {
            yield return PeerFiles.HasLimits ? $"native limit: {NativeLimits.Width}-bit vectors" : "native limit: could not be built";
            yield return !PeerFiles.HasOneDnn ? "oneDNN: could not be had"
                : Implementations.Count == 0 ? "oneDNN: there" : $"oneDNN: {string.Join(", ", Implementations)}";
            yield return _torch.Length > 0 ? _torch[0].Version : "PyTorch: could not be had";
        }
    }

    /// <summary>Seconds of processor time that PyTorch took.</summary>
    public double TorchSeconds => _torch.Sum(peer => peer.Seconds);

    // Which of its implementations oneDNN chose.
    private SortedSet<string> Implementations { get; } = [];

    /// <summary>
    /// Calls everything that is timed on small tensors until the runtime has compiled it for good. What comes compiled with the runtime it
    /// compiles again for this machine, in the background and after 30 calls.
    /// </summary>
    public void WarmUp()
    {
        foreach (var layout in Enum.GetValues<Layout>())
        {
            using var data = new CaseData(layout == Layout.Dense ? new(layout, 512, 128) : new(layout, 8, 128, 8, 8));
            for (var pass = 0; pass < 3; pass++)
            {
                foreach (var threads in _options.Threads)
                {
                    var composed = new Composed(data, threads);
                    using var ours = new Ours(data, _options.Widths[0], threads);
                    foreach (var operation in Enum.GetValues<Operation>())
                    {
                        var (first, second) = (ours.Of(operation), composed.Of(operation));
                        for (var i = 0; i < 40; i++)
                        {
                            first(0);
                            second(0);
                            ours.PrepareAndApply(0);
                            ours.Statistics(0);
                        }
                    }
                }
                Thread.Sleep(120);
            }
        }
    }

    /// <summary>Measures one case: a cell per operation and number of threads.</summary>
    /// <param name="benchCase">The case.</param>
    /// <param name="most">How long it may take.</param>
    public List<Cell> Measure(BenchCase benchCase, TimeSpan most)
    {
        var start = Stopwatch.GetTimestamp();
        using var data = new CaseData(benchCase);
        foreach (var peer in _torch) peer.Load(data);
        var cells = new List<Cell>();
        var open = Enum.GetValues<Operation>().Length * _options.Threads.Length;
        foreach (var operation in Enum.GetValues<Operation>())
            foreach (var threads in _options.Threads)
                cells.Add(Measure(data, operation, threads, (most - Stopwatch.GetElapsedTime(start)) / open--));
        return cells;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var peer in _torch) peer.Dispose();
    }

    private Cell Measure(CaseData data, Operation operation, int threads, TimeSpan most)
    {
        var start = Stopwatch.GetTimestamp();
        var cell = new Cell(data.Case, operation, threads);
        var contenders = new List<Contender>();
        var disposables = new List<IDisposable>();
        if (PeerFiles.HasLimits) contenders.AddRange(NativeLimits.Of(data, operation, threads));
        foreach (var width in _options.Widths) AddOurs(width);
        AddPeers();
        var (machine, torchBefore) = (new Machine(), TorchSeconds);
        cell.Run(contenders, _options.Rounds, _options.TurnMilliseconds, (most - Stopwatch.GetElapsedTime(start)).TotalMilliseconds);
        cell.Disturbance = machine.Disturbance(TorchSeconds - torchBefore);
        foreach (var disposable in disposables) disposable.Dispose();
        return cell;

        void AddOurs(VectorWidth width)
        {
            var ours = new Ours(data, width, threads);
            disposables.Add(ours);
            if (!Admit(Names.Ours(width), ours.Of(operation), OurFlaw)) return;
            if (width != _options.Widths[0]) return;
            if (operation == Operation.Inference) Admit(Names.OursWhole(width), ours.PrepareAndApply, OurFlaw);
            if (threads > 1)
            {
                var single = new Ours(data, width, 1);
                disposables.Add(single);
                contenders.Add(new Call(Names.OursOnOneThread, data.Case.Sets, single.Of(operation)));
            }
            else if (operation == Operation.Train && BenchCase.Judged.Contains(data.Case))
            {
                var statistics = new FloatStatistics(data);
                disposables.Add(statistics);
                contenders.Add(new Call(Names.OurStatistics, data.Case.Sets, set => ours.Statistics(set)));
                Admit(Names.FloatStatistics, statistics.Run, statistics.Flaw);
            }

            unsafe string? OurFlaw() =>
                data.Reference.Flaw(operation, data.Result(0))
                ?? (ours.Gradients is { } gradients ? data.Reference.Flaw(gradients.DGamma, gradients.DBeta) : null);
        }

        void AddPeers()
        {
            if (PeerFiles.HasOneDnn && OneDnn.Best(data, operation, threads) is { } dnn)
            {
                disposables.Add(dnn);
                Implementations.Add($"{dnn.Format} {dnn.Implementation}");
                if (IsRight(Names.OneDnn, dnn.Flaw())) contenders.Add(new OpenMpCall(Names.OneDnn, data.Case.Sets, dnn.Run));
            }
            foreach (var peer in _torch)
                if (IsRight(peer.Name, peer.Flaw(data, operation, threads))) contenders.Add(peer.In(operation, threads));
            unsafe
            {
                Admit(Names.Composed, new Composed(data, threads).Of(operation), () => data.Reference.PeerFlaw(operation, data.Result(0)));
            }
        }

        bool Admit(string name, Action<int> call, Func<string?> flaw)
        {
            data.SpoilResult();
            call(0);
            if (!IsRight(name, flaw())) return false;
            contenders.Add(new Call(name, data.Case.Sets, call));
            return true;
        }

        bool IsRight(string name, string? flaw)
        {
            if (flaw is not null) cell.Reject(name, flaw);
            return flaw is null;
        }
    }
}
