using BnService.Client;
using BnService.Experiments.Data;
using BnService.Experiments.Networks;

namespace BnService.Experiments.Experiments;

/// <summary>What experiments work with: the service, the digits, the seeds, and somebody who is told how far they are.</summary>
/// <param name="Client">The service on which every normalization layer runs.</param>
/// <param name="Training">The digits to train on.</param>
/// <param name="HeldOut">The digits to judge by.</param>
/// <param name="Seeds">One run for each.</param>
/// <param name="IsBrief">Whether a few steps are enough, to see that it runs.</param>
/// <param name="Progress">Told the part of the work that is done, 0 to 1.</param>
/// <param name="CancellationToken">Ends the work.</param>
public sealed record Laboratory(
    BnClient Client, Digits Training, Digits HeldOut, IReadOnlyList<int> Seeds, bool IsBrief, IProgress<double> Progress, CancellationToken CancellationToken)
{
    private const int TestImages = 500, TestSeed = 7, BriefSteps = 20;

    /// <summary>The held-out digits, shifted and with noise: the same in every run.</summary>
    public Digits Test { get; } = new ShiftedDigits(HeldOut, new Random(TestSeed)).Next(TestImages);

    /// <summary>The steps that are made where an experiment asks for so many.</summary>
    public int Steps(int full) => IsBrief ? Math.Min(full, BriefSteps) : full;

    /// <summary>Training batches without end, the same for the same seed.</summary>
    public ShiftedDigits Stream(int seed) => new(Training, new Random(1000 + seed));

    /// <summary>A layer with a session of its own on the service.</summary>
    public Task<NormalizationLayer> NormalizationAsync(LayerOptions options) => NormalizationLayer.CreateAsync(Client, options, CancellationToken);

    /// <summary>
    /// Makes a run of each case, as many at once as there are cores. Each run has its own generators and its own sessions, so that none
    /// depends on which of them is first.
    /// </summary>
    public async Task<IReadOnlyList<TResult>> EachAsync<TCase, TResult>(IReadOnlyList<TCase> cases, Func<TCase, Task<TResult>> run, double from = 0, double to = 1)
    {
        var (results, done) = (new TResult[cases.Count], 0);
        var options = new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = CancellationToken };
        await Parallel.ForAsync(0, cases.Count, options, async (i, _) =>
        {
            results[i] = await run(cases[i]);
            Progress.Report(from + (to - from) * Interlocked.Increment(ref done) / cases.Count);
        });
        return results;
    }
}
