using System.Diagnostics;
using System.Runtime.InteropServices;
using BnService.Bench.Cases;
using BnService.Bench.Timing;

namespace BnService.Bench.Contenders;

/// <summary>
/// oneDNN's batch normalization in its best layout (Native/onednn.cpp). It works on the shared tensors, whose bytes it may read as
/// nChw16c: the numbers are random in any order, and reordering is not charged.
/// </summary>
internal sealed unsafe partial class OneDnn : IDisposable
{
    private const string Library = PeerFiles.OneDnnLibrary;
    private const int Block = 16;

    private readonly CaseData _data;
    private readonly Operation _operation;
    private readonly bool _isBlocked;
    private readonly int _samples, _positions;
    private readonly FloatMemory _statistics;
    private nint _handle;

    private OneDnn(CaseData data, Operation operation, int threads, bool isBlocked)
    {
        (_data, _operation, _isBlocked) = (data, operation, isBlocked);
        // Training writes its statistics here, the others read them.
        var channels = data.Case.C;
        _statistics = new FloatMemory(2 * channels);
        new ReadOnlySpan<float>(operation == Operation.Inference ? data.RunningStatistics : data.BatchStatistics, 2 * channels)
            .CopyTo(new Span<float>(_statistics.Pointer, 2 * channels));
        // A dense tensor is one sample whose positions are the rows: oneDNN's own dense format has only a slow reference path.
        var benchCase = data.Case;
        var (height, width) = benchCase.Layout == Layout.Dense ? (benchCase.N, 1) : (benchCase.Height, benchCase.Width);
        (_samples, _positions) = (benchCase.Count / channels / (height * width), height * width);
        _handle = Create(
            (int)operation, isBlocked ? 1 : 0, threads, _samples, channels, height, width, (float)CaseData.Eps, _statistics.Pointer,
            data.Parameters);
        Implementation = _handle == 0 ? "" : Marshal.PtrToStringUTF8(ImplementationOf(_handle)) ?? "";
    }

    /// <summary>What oneDNN calls the code that it chose.</summary>
    public string Implementation { get; }

    /// <summary>The memory format in which it works.</summary>
    public string Format => _isBlocked ? "nChw16c" : "nhwc";

    /// <summary>The fastest format of those for which oneDNN has compiled code; null where it has only a reference path.</summary>
    public static OneDnn? Best(CaseData data, Operation operation, int threads)
    {
        var (best, bestTime) = ((OneDnn?)null, double.PositiveInfinity);
        foreach (var isBlocked in data.Case.Layout == Layout.ChannelsFirst ? (bool[])[true] : [false, true])
        {
            var candidate = new OneDnn(data, operation, threads, isBlocked);
            var isCompiled = candidate.Implementation.Contains("jit", StringComparison.Ordinal);
            var time = isCompiled ? candidate.ShortestOfThree() : double.PositiveInfinity;
            if (time < bestTime) (best, candidate, bestTime) = (candidate, best, time);
            candidate?.Dispose();
        }
        return best;
    }

    /// <summary>One call.</summary>
    public void Run(int set) => Execute(_handle, _data.X(set), _data.Dy(set), _data.Result(set));

    /// <summary>Why the result of a call cannot be right; null where it can. Reorders the tensors into its format and back.</summary>
    public string? Flaw()
    {
        var capacity = _data.Case.Capacity;
        using FloatMemory x = new(capacity), dy = new(capacity), result = new(capacity);
        Reorder(_data.X(0), x.Pointer, inward: true);
        Reorder(_data.Dy(0), dy.Pointer, inward: true);
        Execute(_handle, x.Pointer, dy.Pointer, result.Pointer);
        _data.SpoilResult();
        Reorder(_data.Result(0), result.Pointer, inward: false);
        return _data.Reference.PeerFlaw(_operation, _data.Result(0));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_handle != 0) Destroy(_handle);
        _handle = 0;
        _statistics.Dispose();
    }

    private double ShortestOfThree()
    {
        var shortest = double.PositiveInfinity;
        for (var i = 0; i < 4; i++)
        {
            var start = Stopwatch.GetTimestamp();
            Run(0);
            // The first one also warms up.
            if (i > 0) shortest = Math.Min(shortest, Clock.MicrosecondsSince(start));
        }
        return shortest;
    }

    private void Reorder(float* plain, float* own, bool inward)
    {
        var channels = _data.Case.C;
        var blocks = _data.Case.PaddedChannels / Block;
        var isFirst = _data.Case.Layout == Layout.ChannelsFirst;
        for (nint n = 0; n < _samples; n++)
        {
            for (var c = 0; c < channels; c++)
            {
                for (var i = 0; i < _positions; i++)
                {
                    var element = isFirst ? (((n * channels) + c) * _positions) + i : (((n * _positions) + i) * channels) + c;
                    var ownElement = _isBlocked ? (((((n * blocks) + (c / Block)) * _positions) + i) * Block) + (c % Block) : element;
                    if (inward) own[ownElement] = plain[element];
                    else plain[element] = own[ownElement];
                }
            }
        }
    }

    [LibraryImport(Library, EntryPoint = "bench_dnn_create")]
    private static partial nint Create(
        int operation, int blocked, int threads, long n, long channels, long height, long width, float eps, float* statistics,
        float* parameters);

    [LibraryImport(Library, EntryPoint = "bench_dnn_implementation")]
    private static partial nint ImplementationOf(nint handle);

    [LibraryImport(Library, EntryPoint = "bench_dnn_run")]
    private static partial void Execute(nint handle, float* x, float* dy, float* result);

    [LibraryImport(Library, EntryPoint = "bench_dnn_destroy")]
    private static partial void Destroy(nint handle);
}
