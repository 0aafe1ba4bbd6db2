using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class KindsContract
{
    [Fact]
    public void The_number_of_threads_does_not_change_a_bit_of_any_kind() => ForEach(KindCatalog.Large, @case =>
    {
        var expected = Everything(@case, threads: 1);
        foreach (var threads in ThreadCounts[1..]) AssertSameResults(expected, Everything(@case, threads));
    });

    [Fact]
    public void Load_does_not_change_a_bit_of_any_kind()
    {
        var cases = KindCatalog.Large.Where(@case => @case.X.Length < 80_000).ToArray();
        Assert.True(cases.Length >= 4, $"{cases.Length} cases");
        var expected = Array.ConvertAll(cases, @case => Everything(@case, threads: 1));
        // More work than cores, and every computation asks for threads of its own.
        Parallel.For(0, 3 * cases.Length, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
            AssertSameResults(expected[i % cases.Length], Everything(cases[i % cases.Length], threads: 1 + (i % 7))));
    }

    [Fact]
    public void A_cancelled_computation_of_any_kind_says_so()
    {
        using var cancellation = new CancellationTokenSource();
        cancellation.Cancel();
        ForEach(KindCatalog.Large, @case =>
        {
            var moments = MomentsOf(@case);
            foreach (var threads in ThreadCounts)
            {
                var (settings, y) = (Settings(threads) with { Cancellation = cancellation.Token }, new float[@case.X.Length]);
                Assert.Throws<OperationCanceledException>(() => Forward.BatchMoments(@case.Plan, @case.X, settings));
                Assert.Throws<OperationCanceledException>(() => Forward.Train(@case.Plan, @case.X, @case.Parameters(), y, settings));
                Assert.Throws<OperationCanceledException>(
                    () => Backward.Training(@case.Plan, @case.X, @case.Dy, moments, @case.Gamma, @case.Eps, y, settings));
            }
        });
    }

    [Fact]
    public void The_large_tensors_are_cut_in_every_way_there_is()
    {
        var plans = KindCatalog.Large.Select(@case => @case.Plan).ToArray();
        Assert.Contains(plans, plan => plan.Slices > 100 && plan.View.IsColumns);
        Assert.Contains(plans, plan => plan.Slices == 2 && plan.View.IsColumns && plan.View.Count > 65_536);
        Assert.Contains(plans, plan => plan.Slices > 1 && !plan.View.IsColumns && plan.Elements % plan.View.Count != 0);
        Assert.Contains(plans, plan => plan.Reduction == Reduction.Rows && plan.View.Inner > 65_536);
        Assert.Contains(plans, plan => plan.Reduction == Reduction.Rows && plan.View.Channels >= 40_000);
    }

    private (double[][] Doubles, float[][] Floats) Everything(KindCase @case, int threads)
    {
        var moments = MomentsOf(@case, threads);
        var (y, fused) = Trained(@case, Activation.Relu, withResidual: true, threads);
        var applied = Unset(y.Length);
        Forward.Apply(@case.Plan, @case.X, moments, @case.Parameters(), applied, Settings(threads));
        var (dx, parameters) = GradientsOf(@case, @case.Dy, threads);
        return (
            [moments.Mean, moments.MeanResidual, moments.M2, fused.Mean, fused.MeanResidual, fused.M2, parameters.DGamma, parameters.DBeta],
            [y, applied, dx, ThroughRelu(@case, withResidual: true, threads)]);
    }

    private static void AssertSameResults((double[][] Doubles, float[][] Floats) expected, (double[][] Doubles, float[][] Floats) actual)
    {
        for (var i = 0; i < expected.Doubles.Length; i++) AssertSameBits(expected.Doubles[i], actual.Doubles[i]);
        for (var i = 0; i < expected.Floats.Length; i++) AssertSameBits(expected.Floats[i], actual.Floats[i]);
    }
}
