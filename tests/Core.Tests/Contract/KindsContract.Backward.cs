using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class KindsContract
{
    [Fact]
    public void Gradients_of_every_kind_match_the_reference() => ForEach(
        [.. KindCatalog.Small, .. KindCatalog.Large], @case => AssertGradients(@case, @case.Gradients, GradientsOf(@case, @case.Dy, 2), @case.Dy));

    [Fact]
    public void Gradients_that_go_past_the_caches_or_take_the_place_of_dy_have_the_same_bits() => ForEach(KindCatalog.Small, @case =>
    {
        var expected = GradientsOf(@case, @case.Dy);
        var moments = MomentsOf(@case);
        foreach (var settings in new[] { Settings(2), Streaming() })
        {
            var dx = (float[])@case.Dy.Clone();
            var parameters = Backward.Training(@case.Plan, @case.X, dx, moments, @case.Gamma, @case.Eps, dx, settings);
            AssertSameBits(expected.Dx, dx);
            AssertSameBits(expected.Parameters.DGamma, parameters.DGamma);
            AssertSameBits(expected.Parameters.DBeta, parameters.DBeta);
        }
    });

    [Fact]
    public void Gradients_through_relu_vanish_exactly_where_the_output_of_any_kind_did() => ForEach(KindCatalog.Small, @case =>
    {
        foreach (var withResidual in new[] { false, true })
        {
            var y = Trained(@case, Activation.Relu, withResidual).Y;
            float[] expected = [.. @case.Dy.Select((g, i) => y[i] <= 0 ? 0 : g)];
            AssertSameBits(expected, ThroughRelu(@case, withResidual));
            foreach (var settings in new[] { Settings(2), Streaming() })
            {
                var gated = (float[])@case.Dy.Clone();
                Backward.ThroughRelu(@case.Plan, @case.X, gated, MomentsOf(@case), @case.Parameters(Activation.Relu), gated, settings,
                    withResidual ? @case.Residual : default);
                AssertSameBits(expected, gated);
            }
        }
    });

    // g·γ constant, and g·γ along the output: what training takes out, so that nearly nothing is left.
    [Fact]
    public void Gradients_of_every_kind_that_cancel_are_still_right() => ForEach(SomeOfEach([1e-5, 1e-3]), @case =>
    {
        var y = Trained(@case).Y;
        double GammaOf(int i) => @case.Gamma?[@case.Reference.ParameterOf(i)] ?? 1;
        foreach (var dy in new float[][]
        {
            [.. y.Select(_ => 0.7f)],
            y,
            [.. y.Select(value => -1e4f * value)],
            [.. y.Select((value, i) => (float)(0.7 / GammaOf(i)))],
            [.. y.Select((value, i) => (float)(@case.Reference.StatisticOf(i) + (1.3 / GammaOf(i) * @case.Normalized[i])))],
        })
        {
            var expected = @case.Reference.Gradients(BatchCase.Widened(@case.X), BatchCase.Widened(dy), @case.Gamma, @case.Eps);
            AssertGradients(@case, expected, GradientsOf(@case, dy), dy);
        }
    });

    // Around the share of g at which dx is computed in double: on either side float terms must still be good enough.
    [Fact]
    public void Gradients_of_every_kind_that_cancel_in_part_are_right_statistic_by_statistic() => ForEach(SomeOfEach([1e-5]), @case =>
    {
        var random = new Random(7);
        foreach (var noise in new[] { 0.5, 0.2, 0.14, 0.13, 0.127, 0.125, 0.12, 0.1, 0.05, 1e-3 })
        {
            float[] dy = [.. @case.X.Select((_, i) =>
            {
                var (sin, cos) = Math.SinCos(@case.Reference.StatisticOf(i));
                var weighted = cos + (sin * @case.Normalized[i]) + (noise * random.NextGaussian());
                return (float)(weighted / (@case.Gamma?[@case.Reference.ParameterOf(i)] ?? 1));
            })];
            var expected = @case.Reference.Gradients(BatchCase.Widened(@case.X), BatchCase.Widened(dy), @case.Gamma, @case.Eps).Dx;
            var dx = GradientsOf(@case, dy).Dx;
            foreach (var members in @case.Reference.Members)
            {
                AssertWithin(GradientTolerance * Norm(members.Select(i => expected[i])), 0,
                    Norm(members.Select(i => expected[i] - dx[i])), $"‖error of dx‖ with noise {noise}");
            }
        }
    });

    [Fact]
    public void Gradients_of_any_scale_match_the_reference() => ForEach(SomeOfEach([1e-5, 0]), @case =>
    {
        foreach (var scale in new[] { 1e-30f, 1e-10f, 1e10f, 1e30f })
        {
            float[] dy = [.. @case.Dy.Select(g => g * scale)];
            var expected = @case.Reference.Gradients(BatchCase.Widened(@case.X), BatchCase.Widened(dy), @case.Gamma, @case.Eps);
            AssertGradients(@case, expected, GradientsOf(@case, dy), dy);
        }
    });

    private static KindLayout[] OneOfEach { get; } =
    [
        new(NormalizerKind.LayerNorm, [12, 100]),
        new(NormalizerKind.LayerNorm, [3, 7, 5], Trailing: 2),
        new(NormalizerKind.RmsNorm, [12, 100]),
        new(NormalizerKind.RmsNorm, [3, 7, 5], Trailing: 2),
        new(NormalizerKind.GroupNorm, [3, 12, 10], Groups: 4),
        new(NormalizerKind.GroupNorm, [3, 10, 12], ChannelAxis: -1, Groups: 4),
        new(NormalizerKind.GroupNorm, [5, 60], Groups: 3),
        new(NormalizerKind.InstanceNorm, [3, 12, 50]),
        new(NormalizerKind.InstanceNorm, [3, 50, 12], ChannelAxis: -1),
    ];

    // Far from the smallest γ, 1/γ stays of a size.
    private static KindCase[] SomeOfEach(double[] allEps) =>
        [.. from eps in allEps
            from hasGamma in new[] { true, false }
            from layout in OneOfEach
            select WithGammaAwayFromZero(layout with { HasGamma = hasGamma, Eps = eps })];

    private static KindCase WithGammaAwayFromZero(KindLayout layout)
    {
        var @case = new KindCase(layout, 41, (statistic, _, random) => 5 + (statistic % 3) + (3 * random.NextGaussian()));
        for (var i = 0; i < (@case.Gamma?.Length ?? 0); i++) @case.Gamma![i] = Math.CopySign(0.3 + Math.Abs(@case.Gamma[i]), @case.Gamma[i]);
        return @case;
    }
}
