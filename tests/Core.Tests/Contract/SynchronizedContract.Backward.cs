using System.Runtime.InteropServices;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class SynchronizedContract
{
    [Fact]
    public void Gradients_of_ranks_match_the_reference_of_the_whole() => ForEach(Known.Select(BatchCatalog.Named), batch =>
    {
        var ranked = Ranked(batch, threads: 2);
        AssertGradients(batch, ranked, batch.Dy, ranked.Gradients(batch.Dy));
    });

    [Fact]
    public void Hard_inputs_cut_over_ranks_have_the_gradients_of_the_reference() => ForEach(HardGradients, batch =>
    {
        foreach (var samples in CutsOf(batch))
        {
            var ranked = new RankedBatch(batch, samples, Settings());
            AssertGradients(batch, ranked, batch.Dy, ranked.Gradients(batch.Dy));
        }
    });

    [Fact]
    public void Gradients_that_cancel_over_the_ranks_are_still_right()
    {
        foreach (var (columns, eps) in new[] { (true, 1e-5), (false, 1e-5), (true, 1e-3), (false, 1e-3) })
        {
            var batch = HardBatches.Of(columns, 400, eps, (_, random) => 5 + (3 * random.NextGaussian()));
            var ranked = Ranked(batch);
            foreach (var dy in new[] { Enumerable.Repeat(0.7f, batch.X.Length).ToArray(), ranked.Normalized() })
            {
                var actual = ranked.Gradients(dy);
                AssertGradients(batch, ranked, dy, actual);
                Assert.InRange(Norm(BatchCase.Widened(actual.Dx)) / Norm(BatchCase.Widened(dy)), 0, 1e-2);
            }
        }
    }

    // Where g cancels on one rank alone, the sums over all ranks do not tell: dx of this rank is right by itself.
    [Fact]
    public void A_gradient_that_cancels_on_one_rank_is_right_there()
    {
        foreach (var (layout, samples) in new (int[], int[])[] { ([400, 25], [100, 300]), ([8, 25, 100], [2, 6]) })
        {
            var batch = new BatchCase(new(layout), 31, (s, random) => (float)(s + random.NextGaussian()));
            var (random, own) = (new Random(7), batch.X.Length / (samples.Sum() / samples[0]));
            var (mean, variance) = batch.Reference.Moments(BatchCase.Widened(batch.X));
            var normalized = batch.Reference.Normalize(BatchCase.Widened(batch.X), mean, variance, null, null, batch.Eps, relu: false);
            var (cos, sin) = (new double[mean.Length], new double[mean.Length]);
            var dy = new float[batch.X.Length];
            for (var i = 0; i < dy.Length; i++) dy[i] = (float)(1 + normalized[i] + random.NextGaussian());
            // The first rank's g is made of the two directions that training takes out, and of nothing else but 1e-3 of noise.
            for (var again = 0; again < 40; again++)
            {
                var all = batch.Reference.TrainingGradients(BatchCase.Widened(batch.X), BatchCase.Widened(dy), null, batch.Eps);
                for (var s = 0; s < mean.Length; s++)
                    (cos[s], sin[s]) = (all.DBeta[s] / batch.Reference.Count, all.DGamma[s] / batch.Reference.Count);
                for (var i = 0; i < own; i++)
                {
                    var s = batch.Reference.StatisticOf(i);
                    dy[i] = (float)(cos[s] + (sin[s] * normalized[i]) + (1e-3 * Math.Sin(i)));
                }
            }
            var expected = batch.Reference.TrainingGradients(BatchCase.Widened(batch.X), BatchCase.Widened(dy), batch.Gamma, batch.Eps).Dx;
            var dx = new RankedBatch(batch, samples, Settings()).Gradients(dy).Dx;
            foreach (var members in batch.Members.Select(members => members.Where(i => i < own).ToArray()))
            {
                Assert.InRange(Norm(members.Select(i => expected[i])) / Norm(members.Select(i => (double)dy[i])), 0, 1e-2);
                AssertWithin(GradientTolerance * Norm(members.Select(i => expected[i])), 0,
                    Norm(members.Select(i => expected[i] - dx[i])), "‖error of dx‖ of a rank");
            }
        }
    }

    [Fact]
    public void Gradients_through_relu_and_residual_match_the_reference() => ForEach(Some, batch =>
    {
        foreach (var residual in new[] { null, ResidualOf(batch) })
        {
            var ranked = Ranked(batch, WithRelu, threads: 2);
            var y = ranked.Normalized(residual);
            float[] gated = [.. batch.Dy.Select((g, i) => y[i] <= 0 ? 0 : g)];
            var actual = ranked.Gradients(batch.Dy, residual);
            AssertSameBits(gated, actual.Gradient);
            AssertGradients(batch, ranked, gated, actual);
            // Without an activation the residual's gradient is dy.
            AssertSameBits(batch.Dy, Ranked(batch).Gradients(batch.Dy, residual).Gradient);
        }
    });

    [Fact]
    public void Gradients_may_take_the_place_of_dy() => ForEach(Some, batch =>
    {
        foreach (var options in new Func<NormalizerOptions, NormalizerOptions>[] { WithRelu, plain => plain })
        {
            var ranked = Ranked(batch, options);
            AssertSameBits(ranked.Gradients(batch.Dy).Dx, ranked.Gradients(batch.Dy, isInPlace: true).Dx);
        }
    });

    [Fact]
    public void Gradients_with_a_mask_match_the_reference() => ForEach(MaskedBatches, batch =>
    {
        // Masked samples' gradients are as large as one likes: they pass γ and β, and so are in the sums.
        var perSample = batch.X.Length / batch.Layout.Shape[0];
        foreach (var size in new[] { 1, 1000 })
        {
            float[] dy = [.. batch.Dy.Select((g, i) => IsValid(i / perSample) ? g : g * size)];
            var reference = new MaskedReference(batch, IsValid);
            var expected = reference.Gradients(dy);
            var ranked = new RankedBatch(batch, MaskedCut(batch), Settings(2), isValid: IsValid);
            var (dx, _, parameters) = ranked.Gradients(dy);
            foreach (var isValid in new[] { true, false })
            {
                var some = Enumerable.Range(0, dx.Length).Where(i => reference.IsValid(i) == isValid).ToArray();
                AssertNear([.. some.Select(i => expected.Dx[i])], [.. some.Select(i => (double)dx[i])], 0, $"dx where valid is {isValid}");
            }
            foreach (var (elements, actual) in ranked.Elements.Zip(parameters))
            {
                var (dGamma, dBeta) = reference.ParameterGradients(
                    dy, Enumerable.Range(elements.Start.Value, elements.End.Value - elements.Start.Value));
                AssertNear(dGamma, actual.DGamma, 1e-14 * Norm(BatchCase.Widened(dy)), "dγ of a rank");
                AssertNear(dBeta, actual.DBeta, 1e-14 * Norm(BatchCase.Widened(dy)), "dβ of a rank");
            }
        }
    });

    [Fact]
    public void Sums_that_were_sent_as_bytes_have_the_same_bits() => ForEach(Some, batch =>
    {
        static double[] Sent(double[] values) => MemoryMarshal.Cast<byte, double>(MemoryMarshal.AsBytes(values.AsSpan()).ToArray()).ToArray();
        var ranked = Ranked(batch);
        var expected = ranked.Gradients(batch.Dy);
        var actual = ranked.Gradients(batch.Dy, sent: sums => new GradientSums(Sent(sums.SumDy), Sent(sums.SumDyXmu)));
        AssertSameBits(expected.Dx, actual.Dx);
        var moments = ranked.Own.Select(own => new Moments(own.Count, Sent(own.Mean), Sent(own.MeanResidual), Sent(own.M2)));
        AssertSameMoments(ranked.Joint, moments.Aggregate(Moments.Merge));
    });

    // What is left over of a mean is far below what gradients show, but with millions of values: here it is made large.
    [Fact]
    public void The_mean_of_the_gradients_is_the_sum_of_its_two_parts() => ForEach(Some, batch =>
    {
        var whole = Forward.BatchMoments(batch.Plan, batch.X, Settings());
        var parts = new Moments(whole.Count, [.. whole.Mean.Select(m => m - 0.5)], [.. whole.MeanResidual.Select(r => r + 0.5)], whole.M2);
        var (expected, actual) = (Through(whole), Through(parts));
        AssertNear(expected.Sums.SumDyXmu, actual.Sums.SumDyXmu, 0, "Σg·(x − μ)");
        AssertNear(BatchCase.Widened(expected.Dx), BatchCase.Widened(actual.Dx), 0, "dx");

        (GradientSums Sums, float[] Dx) Through(Moments moments)
        {
            var sums = Backward.Sums(batch.Plan, batch.X, batch.Dy, moments, Settings());
            var dx = new float[batch.X.Length];
            Backward.Joint(batch.Plan, batch.X, batch.Dy, moments, sums, batch.Gamma, batch.Eps, dx, Settings());
            return (sums, dx);
        }
    });

    private static IEnumerable<BatchCase> HardGradients =>
        HardBatches.Names.Where(name => !name.Contains("subnormal numbers,", StringComparison.Ordinal)
            && !name.Contains("smallest normal", StringComparison.Ordinal) && !name.Contains("every magnitude", StringComparison.Ordinal))
            .Select(HardBatches.Named);
}
