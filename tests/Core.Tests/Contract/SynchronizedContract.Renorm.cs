using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

// BatchCase renormalization over ranks: r and d from the statistics of all of them.
public abstract partial class SynchronizedContract
{
    [Fact]
    public void Renormalized_ranks_match_the_reference_of_the_whole() => ForEach(Some, batch =>
    {
        var (r, d, running) = Corrections(batch);
        var ranked = new RankedBatch(
            batch, RankedBatch.Cut(batch.Layout.Shape[0]), Settings(2),
            options => options with { Kind = NormalizerKind.BatchRenorm, Renorm = new RenormLimits(2, 0.75, 0) }, running: running);
        var gamma = r.Select((value, c) => value * (batch.Gamma?[c] ?? 1)).ToArray();
        var beta = d.Select((value, c) => (value * (batch.Gamma?[c] ?? 1)) + (batch.Beta?[c] ?? 0)).ToArray();
        AssertOutput(new ExactOutput(batch.X, batch.Members, batch.Statistics, gamma, beta, batch.Eps), ranked.Normalized());

        var (plain, actual) = (batch.TrainingGradients, ranked.Gradients(batch.Dy));
        var parameters = actual.Parameters.Aggregate((a, b) => a.Plus(b));
        AssertNear([.. plain.Dx.Select((g, i) => g * r[batch.Reference.StatisticOf(i)])], BatchCase.Widened(actual.Dx), 0, "dx");
        AssertNear([.. plain.DGamma.Select((g, c) => (r[c] * g) + (d[c] * plain.DBeta[c]))], parameters.DGamma, 0, "dγ");
        AssertNear(plain.DBeta, parameters.DBeta, 0, "dβ");
    });

    // Channels on either side of both limits, 2 and 0.75, and within them.
    private static (double[] R, double[] D, RunningStatistics Running) Corrections(BatchCase batch)
    {
        var (mean, variance) = batch.Reference.Moments(BatchCase.Widened(batch.X));
        double[] ratios = [1.1, 5, 0.9, 0.1, 2.5, 1], distances = [0.3, -2, 0, 9, -0.5, 0.7];
        var running = new RunningStatistics(
            [.. mean.Select((m, c) => m - (distances[c % 6] * Math.Sqrt(variance[c])))],
            [.. variance.Select((v, c) => v / (ratios[c % 6] * ratios[c % 6]))], 9, false);
        var deviation = running.Variance.Select(v => Math.Sqrt(v + batch.Eps)).ToArray();
        return (
            [.. deviation.Select((value, c) => Math.Clamp(Math.Sqrt(variance[c] + batch.Eps) / value, 0.5, 2))],
            [.. deviation.Select((value, c) => Math.Clamp((mean[c] - running.Mean[c]) / value, -0.75, 0.75))],
            running);
    }
}
