using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

// Batch normalization with a mask: statistics of the valid samples normalize all of them. The masked ones' x gets no gradient through them.
public abstract partial class KindsContract
{
    private static readonly Lazy<BatchCase[]> MaskedBatches = new(MakeMasked);

    private static BatchCase[] MakeMasked() =>
    [
        .. new BatchLayout[]
        {
            new([7, 3]), new([9, 1]), new([6, 4, 5], HasGamma: false), new([6, 1, 4]), new([8, 33, 17]), new([6, 5, 4], ChannelAxis: -1),
            new([6, 7, 1], ChannelAxis: -1), new([6, 2, 3, 2, 3]),
            new([6, 3, 2], 1, Granularity.PerActivation), new([6, 1, 1], 1, Granularity.PerActivation),
            new([70, 9, 200]), new([700, 20, 9], ChannelAxis: -1), new([5, 300, 90], 1, Granularity.PerActivation),
        }.Select((layout, seed) => new BatchCase(layout, seed, (s, random) => (float)((s % 7) + ((1 + (s % 3)) * random.NextGaussian())))),
    ];

    [Fact]
    public void Moments_of_the_valid_samples_are_theirs_alone()
    {
        foreach (var batch in MaskedBatches.Value)
        {
            var moments = ValidMoments(batch);
            var reference = new MaskedReference(batch, IsValid);
            Assert.Equal(reference.Count, moments.Count);
            var variance = moments.Variance(unbiased: false);
            for (var s = 0; s < moments.Channels; s++)
            {
                var largest = batch.Members[s].Max(i => Math.Abs((double)batch.X[i]));
                AssertWithin(StatisticsTolerance * largest, reference.Mean[s], moments.Mean[s], $"{batch.Layout}: mean[{s}]");
                AssertWithin(StatisticsTolerance * reference.Variance[s], reference.Variance[s], variance[s], $"{batch.Layout}: variance[{s}]");
            }
        }
    }

    [Fact]
    public void Gradients_with_a_mask_match_the_reference()
    {
        foreach (var batch in MaskedBatches.Value)
        {
            foreach (var threads in ThreadCounts) AssertMaskedGradients(batch, batch.Dy, threads);
        }
    }

    // Large gradients of masked samples, which cancel among themselves, say nothing about how far those of the valid ones cancel.
    [Fact]
    public void Gradients_of_valid_samples_that_cancel_are_right_whatever_those_of_masked_ones_are()
    {
        foreach (var batch in MakeMasked().Where(batch => batch.Reference.Count > 100 && batch.Layout.Shape[0] % 5 == 0))
        {
            var reference = new MaskedReference(batch, IsValid);
            var (dy, perSample) = ((float[])batch.Dy.Clone(), batch.X.Length / batch.Layout.Shape[0]);
            for (var i = 0; i < dy.Length; i++)
            {
                var s = batch.Reference.StatisticOf(i);
                var deviation = (batch.X[i] - reference.Mean[s]) / Math.Sqrt(reference.Variance[s]);
                if (IsValid(batch, i)) dy[i] = (float)(0.7 + (1.3 * deviation) + (1e-3 * dy[i]));
                else if (i / perSample % 5 == 1) dy[i] *= 1000;
                // The second of a pair of masked samples with the same values.
                else (batch.X[i], dy[i]) = (batch.X[i - perSample], -dy[i - perSample]);
            }
            AssertMaskedGradients(batch, dy, threads: 2);
        }
    }

    [Fact]
    public void Statistics_and_gamma_that_do_not_fit_are_refused_past_statistics()
    {
        var batch = MaskedBatches.Value[0];
        var dx = new float[batch.X.Length];
        Assert.Throws<ArgumentException>("batch", () =>
            Backward.PastStatistics(batch.Plan, batch.Dy, Moments.Empty(2), null, batch.Eps, dx, Settings()));
        Assert.Throws<ArgumentException>("gamma", () =>
            Backward.PastStatistics(batch.Plan, batch.Dy, ValidMoments(batch), new double[2], batch.Eps, dx, Settings()));
        Assert.Throws<ArgumentException>("dx", () =>
            Backward.PastStatistics(batch.Plan, batch.Dy, ValidMoments(batch), null, batch.Eps, new float[1], Settings()));
    }

    private void AssertMaskedGradients(BatchCase batch, float[] dy, int threads)
    {
        var (dx, dGamma, dBeta) = new MaskedReference(batch, IsValid).Gradients(dy);
        var (actual, parameters) = MaskedGradients(batch, dy, threads);
        foreach (var isValid in new[] { true, false })
        {
            var some = Enumerable.Range(0, dx.Length).Where(i => IsValid(batch, i) == isValid).ToArray();
            var name = $"{batch.Layout}: dx of {(isValid ? "valid" : "masked")} samples";
            AssertNear([.. some.Select(i => dx[i])], [.. some.Select(i => (double)actual[i])], 0, name);
        }
        AssertNear(dGamma, parameters.DGamma, 0, $"{batch.Layout}: dγ");
        AssertNear(dBeta, parameters.DBeta, 0, $"{batch.Layout}: dβ");
    }

    // As it is done for a request: dx of all samples as if they were valid, and then that of the masked ones in its place.
    private (float[] Dx, ParameterGradients Parameters) MaskedGradients(BatchCase batch, float[] dy, int threads)
    {
        var (moments, dx) = (ValidMoments(batch), Unset(batch.X.Length));
        var parameters = Backward.Training(
            batch.Plan, batch.X, dy, moments, batch.Gamma, batch.Eps, dx, Settings(threads), statisticsAreOfPart: true);
        var (samples, perSample) = (batch.Layout.Shape[0], batch.X.Length / batch.Layout.Shape[0]);
        for (var sample = 0; sample < samples; sample++)
        {
            if (IsValid(sample)) continue;
            var elements = new Range(sample * perSample, (sample + 1) * perSample);
            Backward.PastStatistics(batch.Plan.ForSamples(samples, 1), dy.AsSpan(elements), moments, batch.Gamma, batch.Eps,
                dx.AsSpan(elements), Settings(threads));
        }
        return (dx, parameters);
    }

    // Of each run of valid samples, merged.
    private Moments ValidMoments(BatchCase batch)
    {
        var (samples, perSample) = (batch.Layout.Shape[0], batch.X.Length / batch.Layout.Shape[0]);
        var moments = Moments.Empty(batch.Plan.Statistics);
        for (var first = 0; first < samples;)
        {
            var end = first;
            while (end < samples && IsValid(end)) end++;
            if (end > first)
            {
                var part = batch.Plan.ForSamples(samples, end - first);
                Assert.Equal((Reduction.Channels, (end - first) * perSample), (part.Reduction, part.Elements));
                moments = Moments.Merge(moments, Forward.BatchMoments(part, batch.X.AsSpan((first * perSample)..(end * perSample)), Settings(2)));
            }
            first = end + 1;
        }
        return moments;
    }

    private static bool IsValid(BatchCase batch, int element) => IsValid(element / (batch.X.Length / batch.Layout.Shape[0]));

    private static bool IsValid(int sample) => sample % 5 is not (1 or 2);
}
