using System.Runtime.InteropServices;
using BnService.Bench.Cases;
using BnService.Bench.Timing;

namespace BnService.Bench.Contenders;

/// <summary>The least time that moving an operation's bytes takes (Native/limits.cpp).</summary>
internal static unsafe partial class NativeLimits
{
    private const string Library = PeerFiles.LimitsLibrary;

    // The order of the loops in limits.cpp; each stands there with ordinary and then with non-temporal stores.
    private const int Copy = 0, ReadThenCopy = 2, Sum = 4, ReadThenSum = 6;

    /// <summary>Width in bits of the vectors of the limit.</summary>
    public static int Width => WidthOfVectors();

    /// <summary>What limits an operation, in words.</summary>
    public static string Describe(Operation operation, bool isOutOfCache) => LoopOf(operation, isOutOfCache) switch
    {
        Copy => "copy (1R+1W)",
        ReadThenCopy => "2R+1W",
        Sum => "a+b (2R+1W)",
        _ => "4R+1W",
    };

    /// <summary>The limit with both kinds of stores.</summary>
    public static IEnumerable<Contender> Of(CaseData data, Operation operation, int threads)
    {
        var loop = LoopOf(operation, data.Case.IsOutOfCache);
        yield return new Limit(Names.Limit, loop, data, threads);
        yield return new Limit(Names.StreamedLimit, loop + 1, data, threads);
    }

    // In cache the sums of a backward pass need not cost a second trip: the elementwise sum is the harsher limit.
    private static int LoopOf(Operation operation, bool isOutOfCache) => operation switch
    {
        Operation.Inference => Copy,
        Operation.Train => ReadThenCopy,
        _ => isOutOfCache ? ReadThenSum : Sum,
    };

    [LibraryImport(Library, EntryPoint = "bench_limit_width")]
    private static partial int WidthOfVectors();

    [LibraryImport(Library, EntryPoint = "bench_limit_awake")]
    private static partial void Awake(int awake);

    [LibraryImport(Library, EntryPoint = "bench_limit_run")]
    private static partial void Run(int loop, int threads, float* to, float* a, float* b, long count);

    private sealed class Limit(string name, int loop, CaseData data, int threads) : Call(
        name, data.Case.Sets, set => Run(loop, threads, data.Result(set), data.X(set), data.Dy(set), data.Case.Count))
    {
        public override void Measure(double milliseconds)
        {
            if (threads == 2) Awake(1);
            base.Measure(milliseconds);
            if (threads == 2) Awake(0);
        }
    }
}
