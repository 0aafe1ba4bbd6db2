using System.Diagnostics;
using BnService.Bench.Cases;
using BnService.Bench.Timing;
using BnService.Core;
using BnService.Core.Kernels;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Bench.Contenders;

/// <summary>The core, as the service calls it. All that this program calls of it stands in this file.</summary>
internal sealed unsafe class Ours : IDisposable
{
    private static readonly ComputeSettings TwoThreads = new(VectorWidths.Widest, 2);

    private readonly CaseData _data;
    private readonly Batch _batch;
    private readonly RunningStatistics _running;
    private readonly AffineMap _map;
    private readonly Moments[] _moments;

    /// <param name="data">The tensors.</param>
    /// <param name="width">Width of the vectors.</param>
    /// <param name="threads">Number of threads.</param>
    public Ours(CaseData data, VectorWidth width, int threads)
    {
        _data = data;
        var layout = data.Case.Plan;
        var layer = new LayerState
        {
            Options = new NormalizerOptions { NumFeatures = layout.Statistics, Eps = CaseData.Eps },
            Version = 1,
            Features = layout.Statistics,
            Gamma = data.Gamma,
            Beta = data.Beta,
        };
        _batch = new Batch(layer, new Shape(layout.Elements), layout, new ComputeSettings(width, threads));
        _running = new RunningStatistics(data.RunningMean, data.RunningVariance, 1, isInitial: false);
        _map = AffineMap.Of(_running, data.Gamma, data.Beta, CaseData.Eps);
        _moments = [.. Enumerable.Range(0, data.Case.Sets).Select(Statistics)];
    }

    /// <summary>The gradients of gamma and beta of the last backward pass.</summary>
    public ParameterGradients? Gradients { get; private set; }

    /// <summary>The call for an operation, for a set of tensors.</summary>
    public Action<int> Of(Operation operation) => operation switch
    {
        Operation.Inference => Apply,
        Operation.Train => Train,
        _ => Backward,
    };

    /// <summary>Inference with a map that was prepared before.</summary>
    public void Apply(int set) => _batch.WriteMapped(_map, X(set), default, default, Result(set));

    /// <summary>Inference from the running statistics on.</summary>
    public void PrepareAndApply(int set)
    {
        using var map = AffineMap.Of(_running, _data.Gamma, _data.Beta, CaseData.Eps);
        _batch.WriteMapped(map, X(set), default, default, Result(set));
    }

    /// <summary>The training forward pass.</summary>
    public void Train(int set) => _batch.SumAndWrite(X(set), default, Result(set));

    /// <summary>The backward pass of training.</summary>
    public void Backward(int set) => Gradients = _batch.GradientsThrough(_moments[set], X(set), Dy(set), Result(set));

    /// <summary>The statistics of a batch alone.</summary>
    public Moments Statistics(int set) => _batch.Sum(X(set));

    /// <inheritdoc/>
    public void Dispose() => _map.Dispose();

    /// <summary>Hands two items that do nothing to two threads, by the way that every kernel goes.</summary>
    public static void DispatchNothing() => Dispatch(default(Nothing));

    /// <summary>Hands out two items that end when both have begun: what passes until a second thread works, or a limit.</summary>
    public static void DispatchMeeting()
    {
        var present = 0;
        Dispatch(new Meeting(&present));
    }

    private static void Dispatch<TKernel>(TKernel kernel)
        where TKernel : struct, IKernel => Partition.Run(kernel, 2, long.MaxValue, TwoThreads);

    private ReadOnlySpan<float> X(int set) => new(_data.X(set), _data.Case.Count);

    private ReadOnlySpan<float> Dy(int set) => new(_data.Dy(set), _data.Case.Count);

    private Span<float> Result(int set) => new(_data.Result(set), _data.Case.Count);

    private readonly struct Nothing : IKernel
    {
        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double>
        {
        }
    }

    private readonly struct Meeting(int* present) : IKernel
    {
        private const double LongestWait = 100;

        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double>
        {
            Interlocked.Increment(ref *present);
            var start = Stopwatch.GetTimestamp();
            while (Volatile.Read(ref *present) < 2 && Clock.MicrosecondsSince(start) < LongestWait) Thread.SpinWait(1);
        }
    }
}
