using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class SynchronizedContract
{
    [Fact]
    public void Statistics_of_parts_make_those_of_the_whole() => ForEach(Known.Select(BatchCatalog.Named), batch =>
    {
        var ranked = Ranked(batch, threads: 2);
        AssertMoments(batch, ranked.Joint);
        var samples = RankedBatch.Cut(batch.Layout.Shape[0]);
        Assert.Equal(samples.Select(count => (long)batch.Reference.Count / batch.Layout.Shape[0] * count), ranked.Own.Select(own => own.Count));
        Assert.All(ranked.Own, own => Assert.Equal(batch.Reference.Statistics, own.Channels));
    });

    [Fact]
    public void Every_rank_is_normalized_as_exact_arithmetic_does_the_whole() => ForEach(Known.Select(BatchCatalog.Named), batch =>
    {
        var ranked = Ranked(batch, threads: 2);
        var y = ranked.Normalized();
        AssertOutput(batch.TrainingOutput, y);
        AssertSameBits(y, ranked.InPieces());
        AssertOutput(batch.TrainingOutput, Ranked(batch, WithRelu).Normalized(), Activation.Relu);
    });

    [Fact]
    public void Hard_inputs_cut_over_ranks_have_exact_statistics_and_outputs() => ForEach(HardBatches.Names.Select(HardBatches.Named), batch =>
    {
        foreach (var samples in CutsOf(batch))
        {
            var ranked = new RankedBatch(batch, samples, Settings());
            AssertMoments(batch, ranked.Joint);
            if (batch != BeyondDoubleSums) AssertOutput(batch.TrainingOutput, ranked.Normalized());
        }
    });

    // One sample has all the values above the mean: their sum in double, which nothing cancels here, leaves 3e-17 of doubt in the mean,
    // and without β the output of the value next to it may only be off by a share of its 1.6e-17.
    private static BatchCase BeyondDoubleSums => HardBatches.Named("the same in another order, runs, no β");

    [Fact]
    public void A_constant_on_all_ranks_comes_out_as_beta()
    {
        foreach (var columns in new[] { true, false })
        {
            foreach (var constant in new[] { 100, 0.1f, 1.2345678e10f, 3e38f, float.Epsilon })
            {
                foreach (var eps in new[] { 1e-5, 0 })
                {
                    var batch = HardBatches.Of(columns, 1026, eps, (_, _) => constant);
                    var ranked = Ranked(batch);
                    var y = ranked.Normalized();
                    Assert.Equal((constant, 0, 0), (ranked.Joint.Mean[1], ranked.Joint.MeanResidual[1], ranked.Joint.M2[1]));
                    Assert.All(batch.Members[1], i => Assert.Equal((float)batch.Beta![1], y[i]));
                }
            }
        }
    }

    [Fact]
    public void A_residual_is_added_before_relu() => ForEach(Some, batch =>
    {
        var (residual, plain) = (ResidualOf(batch), Ranked(batch).Normalized());
        var sum = plain.Select((y, i) => y + residual[i]).ToArray();
        AssertSameBits(sum, Ranked(batch).Normalized(residual));
        AssertSameBits(Array.ConvertAll(sum, value => value > 0 ? value : 0), Ranked(batch, WithRelu).Normalized(residual));
    });

    [Fact]
    public void Masked_samples_are_left_out_of_the_statistics_and_normalized_with_them() => ForEach(MaskedBatches, batch =>
    {
        var reference = new MaskedReference(batch, IsValid);
        var ranked = new RankedBatch(batch, MaskedCut(batch), Settings(2), isValid: IsValid);
        Assert.Equal(reference.Count, ranked.Joint.Count);
        Assert.Contains(ranked.Statistics, statistics => statistics.Mask is null && statistics.Parts[0].Samples > 0);
        Assert.Contains(ranked.Own.Zip(ranked.Statistics), rank => rank.First.Count == 0 && rank.Second.Parts[0].Samples > 0);
        Assert.All(ranked.Statistics, statistics => Assert.Same(ranked.Joint, statistics.Moments));
        var variance = ranked.Joint.Variance(unbiased: false);
        for (var s = 0; s < variance.Length; s++)
        {
            AssertWithin(StatisticsTolerance * batch.Members[s].Max(i => Math.Abs(batch.X[i])), reference.Mean[s], ranked.Joint.Mean[s], $"mean[{s}]");
            AssertWithin(StatisticsTolerance * reference.Variance[s], reference.Variance[s], variance[s], $"variance[{s}]");
        }
        var valid = Array.ConvertAll(batch.Members, members => ExactStatistic.Of([.. members.Where(reference.IsValid).Select(i => batch.X[i])]));
        AssertOutput(new ExactOutput(batch.X, batch.Members, valid, batch.Gamma, batch.Beta, batch.Eps), ranked.Normalized());
    });

    [Fact]
    public void The_number_of_threads_does_not_change_a_bit() => ForEach(Some, batch =>
    {
        var (expected, y) = (Ranked(batch), Ranked(batch).Normalized());
        var gradients = expected.Gradients(batch.Dy);
        foreach (var threads in new[] { 1, 2, 7 })
        {
            var ranked = Ranked(batch, threads: threads);
            AssertSameMoments(expected.Joint, ranked.Joint);
            AssertSameBits(y, ranked.Normalized());
            var actual = ranked.Gradients(batch.Dy);
            AssertSameBits(gradients.Dx, actual.Dx);
            foreach (var (a, b) in gradients.Parameters.Zip(actual.Parameters))
            {
                AssertSameBits(a.DGamma, b.DGamma);
                AssertSameBits(a.DBeta, b.DBeta);
            }
        }
    });

    /// <summary>A batch of each layout, small and large.</summary>
    private static readonly BatchCase[] Some =
    [
        .. new BatchLayout[]
        {
            new([9, 5]), new([300, 130], Eps: 1e-3), new([4, 3, 7], HasBeta: false), new([7, 17, 33], HasGamma: false, HasBeta: false),
            new([6, 1, 5]), new([3, 7, 7, 20], ChannelAxis: -1), new([5, 9, 2, 3, 4]), new([6, 3, 2], Granularity: Granularity.PerActivation),
            new([5, 70_001], Granularity: Granularity.PerActivation), new([5, 9, 70, 40]), new([4, 50, 60, 9], ChannelAxis: -1),
        }.Select((layout, seed) => new BatchCase(layout, seed, (s, random) => (float)((s % 5) + ((1 + (s % 3)) * random.NextGaussian())))),
    ];

    /// <summary>The same with samples enough for a mask.</summary>
    private static BatchCase[] MaskedBatches { get; } = [.. Some.Where(batch => batch.Layout.Shape[0] >= 5)];

    private static bool IsValid(int sample) => sample % 5 is not (1 or 2);

    // The second rank's only sample is masked; the first one's is not.
    private static int[] MaskedCut(BatchCase batch) => [1, 1, 0, (batch.Layout.Shape[0] - 2) / 2, (batch.Layout.Shape[0] - 1) / 2];

    private static float[] ResidualOf(BatchCase batch)
    {
        var random = new Random(9);
        return [.. batch.X.Select(_ => (float)random.NextGaussian())];
    }

    // Few large ranks, and many that are small.
    private static IEnumerable<int[]> CutsOf(BatchCase batch)
    {
        var samples = batch.Layout.Shape[0];
        yield return RankedBatch.Cut(samples);
        if (samples > 100) yield return [.. Enumerable.Repeat(7, samples / 7), samples % 7];
    }
}
