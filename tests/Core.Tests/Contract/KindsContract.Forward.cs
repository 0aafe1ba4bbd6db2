using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class KindsContract
{
    private static readonly (Activation Activation, bool WithResidual)[] Outputs =
        [(Activation.None, false), (Activation.Relu, false), (Activation.None, true), (Activation.Relu, true)];

    [Fact]
    public void Moments_of_every_kind_match_exact_arithmetic() =>
        ForEach(KindCatalog.Small, @case => AssertMoments(@case, MomentsOf(@case)));

    [Fact]
    public void Outputs_of_every_kind_match_exact_arithmetic() => ForEach(KindCatalog.Small, @case =>
    {
        foreach (var (activation, withResidual) in Outputs)
            @case.Output(withResidual).AssertNear(Trained(@case, activation, withResidual).Y, activation == Activation.Relu);
    });

    [Fact]
    public void Large_tensors_have_the_moments_and_outputs_of_the_reference() => ForEach(KindCatalog.Large, @case =>
    {
        var (mean, variance) = @case.Moments;
        var (y, moments) = Trained(@case, threads: 2);
        for (var s = 0; s < mean.Length; s++)
        {
            var largest = @case.Reference.Members[s].Max(i => Math.Abs((double)@case.X[i]));
            AssertWithin(StatisticsTolerance * largest, mean[s], moments.Mean[s], $"mean[{s}]");
            AssertWithin(StatisticsTolerance * variance[s], variance[s], moments.M2[s] / moments.Count, $"variance[{s}]");
        }
        var normalized = @case.Normalized;
        for (var i = 0; i < y.Length; i++)
        {
            var parameter = @case.Reference.ParameterOf(i);
            var (scaled, beta) = (normalized[i] * (@case.Gamma?[parameter] ?? 1), @case.Beta?[parameter] ?? 0);
            var largest = Math.Max(Math.Abs(scaled + beta), Math.Max(Math.Abs(scaled), Math.Abs(beta)));
            // The reference knows x̂ only as well as it knows the mean.
            var s = @case.Reference.StatisticOf(i);
            var known = 1e-14 * Math.Abs(@case.Gamma?[parameter] ?? 1) * Math.Max(1, Math.Abs(mean[s]) * InverseDeviation(@case, i));
            AssertWithin((4 * Math.ScaleB(largest, -24)) + known, scaled + beta, y[i], $"y[{i}]");
        }
    });

    // One pass over memory instead of two, results past the caches and threads are a matter of speed alone.
    [Fact]
    public void A_forward_in_one_go_has_the_bits_of_its_two_halves() => ForEach(KindCatalog.Small, @case =>
    {
        var expected = MomentsOf(@case);
        foreach (var (activation, withResidual) in Outputs)
        {
            var output = Unset(@case.X.Length);
            var residual = withResidual ? @case.Residual : [];
            Forward.Apply(@case.Plan, @case.X, expected, @case.Parameters(activation), output, Settings(), residual);
            foreach (var settings in new[] { Settings(2), Streaming() })
            {
                var y = Unset(output.Length);
                AssertSameMoments(expected, Forward.BatchMoments(@case.Plan, @case.X, settings));
                AssertSameMoments(expected, Forward.Train(@case.Plan, @case.X, @case.Parameters(activation), y, settings, residual));
                AssertSameBits(output, y);
                Array.Fill(y, float.NaN);
                Forward.Apply(@case.Plan, @case.X, expected, @case.Parameters(activation), y, settings, residual);
                AssertSameBits(output, y);
            }
        }
    });

    [Fact]
    public void An_output_may_take_the_place_of_its_input_or_its_residual() => ForEach(KindCatalog.Small, @case =>
    {
        foreach (var (activation, withResidual) in Outputs)
        {
            var (expected, moments) = Trained(@case, activation, withResidual);
            var residual = withResidual ? @case.Residual : [];
            foreach (var settings in new[] { Settings(), Streaming() })
            {
                var y = (float[])@case.X.Clone();
                AssertSameMoments(moments, Forward.Train(@case.Plan, y, @case.Parameters(activation), y, settings, residual));
                AssertSameBits(expected, y);
                y = (float[])@case.X.Clone();
                Forward.Apply(@case.Plan, y, moments, @case.Parameters(activation), y, settings, residual);
                AssertSameBits(expected, y);
                if (!withResidual) continue;
                y = (float[])residual.Clone();
                Forward.Train(@case.Plan, @case.X, @case.Parameters(activation), y, settings, y);
                AssertSameBits(expected, y);
            }
        }
    });

    [Fact]
    public void Relu_cuts_the_output_after_the_residual_and_nothing_else() => ForEach(KindCatalog.Small, @case =>
    {
        foreach (var withResidual in new[] { false, true })
        {
            var cut = Array.ConvertAll(Trained(@case, Activation.None, withResidual).Y, y => y > 0 ? y : 0);
            AssertSameBits(cut, Trained(@case, Activation.Relu, withResidual).Y);
        }
    });

    [Fact]
    public void Every_kind_meets_every_choice_of_parameters_and_of_eps()
    {
        foreach (var kind in new[] { NormalizerKind.LayerNorm, NormalizerKind.RmsNorm, NormalizerKind.GroupNorm, NormalizerKind.InstanceNorm })
        {
            var layouts = KindCatalog.Small.Where(@case => @case.Layout.Kind == kind).Select(@case => @case.Layout).ToArray();
            Assert.Equal(4, layouts.Select(layout => (layout.HasGamma, layout.HasBeta)).Distinct().Count());
            Assert.Equal(3, layouts.Select(layout => layout.Eps).Distinct().Count());
            // [N, C] has a single value per sample and channel.
            int[] ranks = kind == NormalizerKind.InstanceNorm ? [3, 4, 5] : [2, 3, 4, 5];
            Assert.Equal(ranks, layouts.Select(layout => layout.Shape.Length).Distinct().Order());
        }
    }
}
