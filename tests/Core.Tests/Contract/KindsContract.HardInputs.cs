using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class KindsContract
{
    // Statistics of as many values as the hard inputs have; statistic 1 is the hard one.
    private static readonly KindLayout[] HardLayouts =
    [
        new(NormalizerKind.LayerNorm, [2, HardBatches.Values]),
        new(NormalizerKind.RmsNorm, [2, 103, 10], Trailing: 2),
        new(NormalizerKind.GroupNorm, [1, 10, 206], Groups: 2),
        new(NormalizerKind.GroupNorm, [1, 206, 10], ChannelAxis: -1, Groups: 2),
        new(NormalizerKind.GroupNorm, [1, 2 * HardBatches.Values], Groups: 2),
        new(NormalizerKind.InstanceNorm, [1, 2, HardBatches.Values]),
        new(NormalizerKind.InstanceNorm, [1, HardBatches.Values, 2], ChannelAxis: -1),
    ];

    // Means of a group's channels that differ by more than the values do, in the order of memory of either layout.
    private static readonly (string Name, Func<int, Random, double> Value, double Eps)[] UnequalChannels =
    [
        ("channels a million apart", (place, random) => (1e6 * (place / 206)) + random.NextGaussian(), 1e-5),
        ("adjacent channels a million apart", (place, random) => (1e6 * (place % 5)) + random.NextGaussian(), 1e-5),
        ("the first channel at 1e30", (place, random) => place < 206 ? 1e30 : random.NextGaussian(), 1e-5),
        ("a channel of 3e38, one of -3e38", (place, random) => place < 206 ? 3e38 : place < 412 ? -3e38 : random.NextGaussian(), 1e-5),
        ("constants, one per channel", (place, _) => 0.1f * (1 + (place / 206)), 0),
        ("channels of 1e9 and a neighbour", (place, random) => place / 206 == 2 ? 1e9 + 64 : 1e9, 0),
    ];

    // Without β an output may only be off by a share of itself, however near the mean its input lies. A run of so many values as here takes
    // more than the 53 bits of its double sums to tell an output of 1e-16 from 0, and 3e38 and −3e38 leave a mean of 0.3 that they do not hold.
    private static readonly string[] NeedsBeta =
        ["first values that cancel", "values whose mean is one of them but for 1.4e-17", "the same in another order",
            "a channel of 3e38, one of -3e38"];

    private static readonly Lazy<(string Name, KindCase Case)[]> HardCases = new(() =>
    [
        .. from source in HardBatches.Sources.Concat(UnequalChannels)
           from layout in HardLayouts
           from hasBeta in new[] { true, false }
           where hasBeta || !NeedsBeta.Contains(source.Name)
           select (source.Name, Hard(layout with { HasBeta = hasBeta, Eps = source.Eps }, source.Value)),
    ]);

    [Fact]
    public void Hard_inputs_have_exact_moments_and_outputs_in_every_kind() => ForEachHard(@case =>
    {
        AssertMoments(@case, MomentsOf(@case));
        var (y, moments) = Trained(@case);
        AssertSameMoments(MomentsOf(@case), moments);
        @case.Output(withResidual: false).AssertNear(y, relu: false);
        var applied = Unset(y.Length);
        Forward.Apply(@case.Plan, @case.X, moments, @case.Parameters(), applied, Settings());
        AssertSameBits(y, applied);
    });

    [Fact]
    public void Hard_inputs_have_the_gradients_of_the_reference_in_every_kind() => ForEachHard(@case =>
    {
        // The rest has gradients beyond float's range.
        if (Enumerable.Range(0, @case.X.Length).All(i => InverseDeviation(@case, i) < 1e30))
            AssertGradients(@case, @case.Gradients, GradientsOf(@case, @case.Dy), @case.Dy);
    });

    [Fact]
    public void A_constant_comes_out_as_beta_in_every_kind_with_a_mean()
    {
        foreach (var constant in new[] { 100, 0.1f, 1.2345678e10f, -1.2e10f, 3e38f, float.MaxValue, float.Epsilon, 0 })
        {
            var layouts = HardLayouts.Where(layout => layout.Kind != NormalizerKind.RmsNorm)
                .Concat([new(NormalizerKind.LayerNorm, [3, 7]), new(NormalizerKind.InstanceNorm, [2, 2, 3])])
                .Concat([new(NormalizerKind.GroupNorm, [2, 6, 5], Groups: 2), new(NormalizerKind.GroupNorm, [2, 6], Groups: 2)])
                .SelectMany(layout => new[] { layout, layout with { Eps = 0 } });
            ForEach(layouts.Select(layout => Hard(layout, (_, _) => constant)), @case =>
            {
                var (y, moments) = Trained(@case);
                Assert.Equal((constant, 0, 0), (moments.Mean[1], moments.MeanResidual[1], moments.M2[1]));
                var gradients = GradientsOf(@case, @case.Dy);
                foreach (var i in @case.Reference.Members[1])
                {
                    Assert.Equal((float)@case.Beta![@case.Reference.ParameterOf(i)], y[i]);
                    if (@case.Eps == 0) Assert.Equal(0, gradients.Dx[i]);
                }
            });
        }
    }

    [Fact]
    public void First_values_far_from_all_others_cost_no_digits_in_any_kind() => ForEach(
        OneOfEach.Select(layout => new KindCase(layout, 3, (statistic, place, random) => place < 8 ? 1e8 + statistic : random.NextGaussian())),
        @case =>
        {
            AssertMoments(@case, MomentsOf(@case));
            @case.Output(withResidual: false).AssertNear(Trained(@case).Y, relu: false);
        });

    // A sum of many equal terms is rounded the same way every time.
    [Theory]
    [InlineData(0.1f)]
    [InlineData(1.1f)]
    public void Groups_of_a_million_channels_have_exact_moments(float value)
    {
        var layout = new KindLayout(NormalizerKind.GroupNorm, [1, 1 << 20], HasGamma: false, HasBeta: false);
        var plan = Layout.Of(new(layout.Shape), layout.Options);
        var x = new float[1 << 20];
        for (var i = 0; i < x.Length; i++) x[i] = i % 4 == 1 ? -value : value;
        var moments = Forward.BatchMoments(plan, x, Settings(2));
        // Three of value to one of −value.
        AssertWithin(StatisticsTolerance * value, value / 2.0, moments.Mean[0], "mean");
        AssertWithin(StatisticsTolerance * 0.75 * value * value, 0.75 * value * value, moments.Variance(unbiased: false)[0], "variance");
    }

    [Fact]
    public void Parameters_out_of_floats_range_give_the_output_of_exact_arithmetic_in_every_kind()
    {
        foreach (var (gamma, beta) in new[] { (1e-42, 0.0), (1e-60, 1e-41), (1e38, -1e38), (1e300, 0), (0, 1e39), (0, 0), (-1e45, 1e45) })
        {
            // Also a statistic without variance: 0 times γ is 0, however large γ is.
            var cases = OneOfEach.Select(layout => new KindCase(layout, 5, (statistic, _, random) => statistic == 0 ? 7 : random.NextGaussian()));
            ForEach(cases, @case =>
            {
                (@case.Gamma![1], @case.Beta![1]) = (gamma, beta);
                @case.Output(withResidual: false).AssertNear(Trained(@case).Y, relu: false);
            });
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void A_value_that_is_not_finite_poisons_its_own_statistic_alone(float value)
    {
        foreach (var place in new[] { 0, 5, 24 })
        {
            ForEach(OneOfEach.Select(layout => new KindCase(layout, 8, (_, _, random) => random.NextGaussian())), @case =>
            {
                var (y, clean) = Trained(@case);
                var exact = @case.Output(withResidual: false);
                @case.X[@case.Reference.Members[1][Math.Min(place, @case.Reference.Count - 1)]] = value;
                var (poisoned, moments) = Trained(@case);
                Assert.False(moments.IsFinite);
                for (var s = 0; s < clean.Channels; s++)
                {
                    Assert.Equal(s == 1 ? double.NaN : clean.M2[s], moments.M2[s]);
                }
                foreach (var i in @case.Reference.Members[1])
                {
                    Assert.Equal(float.NaN, poisoned[i]);
                    poisoned[i] = y[i];
                }
                // Adjacent channels are all on the double path then.
                exact.AssertNear(poisoned, relu: false);
            });
        }
    }

    private static KindCase Hard(KindLayout layout, Func<int, Random, double> value) =>
        new(layout, 17, (statistic, place, random) => statistic == 1 ? value(place, random) : random.NextGaussian() + statistic);

    private static void ForEachHard(Action<KindCase> check)
    {
        foreach (var group in HardCases.Value.GroupBy(hard => hard.Name))
        {
            try
            {
                ForEach(group.Select(hard => hard.Case), check);
            }
            catch (Xunit.Sdk.XunitException failure)
            {
                Assert.Fail($"{group.Key}: {failure.Message}");
            }
        }
    }
}
