using System.Collections.Concurrent;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    public static TheoryData<string> HardInputs => [.. HardBatches.Names];

    /// <summary>Constants that the mean of some of them, taken in float or with a division, would miss.</summary>
    public static TheoryData<float, bool, double> Constants
    {
        get
        {
            var data = new TheoryData<float, bool, double>();
            foreach (var constant in new[] { 100, 0.1f, 1.2345678e10f, -1.2e10f, 3e38f, float.MaxValue, float.Epsilon, 0 })
            {
                foreach (var columns in new[] { true, false })
                {
                    data.Add(constant, columns, 1e-5);
                    data.Add(constant, columns, 0);
                }
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(HardInputs))]
    public void Hard_inputs_have_exact_moments(string name)
    {
        var batch = HardBatches.Named(name);
        var moments = MomentsOf(batch);
        Assert.True(moments.IsFinite);
        AssertMoments(batch, moments);
    }

    [Theory]
    [MemberData(nameof(HardInputs))]
    public void Hard_inputs_are_normalized_as_exact_arithmetic_does(string name)
    {
        var batch = HardBatches.Named(name);
        AssertOutput(batch.TrainingOutput, TrainingOutput(batch));
        AssertOutput(batch.TrainingOutput, TrainingOutput(batch, Activation.Relu), Activation.Relu);
        AssertSameBits(TrainingOutput(batch), TrainedOutput(batch, 1));
        AssertOutput(batch.InferenceOutput, InferenceOutput(batch));
    }

    [Theory]
    [MemberData(nameof(Constants))]
    public void A_constant_has_no_variance_and_comes_out_as_beta(float constant, bool columns, double eps)
    {
        // Counts below, at and above the number of values that the shift is taken from.
        foreach (var count in new[] { 2, 4, 6, 8, 14, 18, 1000, 1026 })
        {
            var batch = HardBatches.Of(columns, count, eps, (_, _) => constant);
            var moments = MomentsOf(batch);
            Assert.Equal(constant, moments.Mean[1]);
            Assert.Equal(0, moments.MeanResidual[1]);
            Assert.Equal(0, moments.M2[1]);
            var y = TrainingOutput(batch);
            var dx = TrainingGradients(batch, batch.Dy);
            Assert.All(batch.Members[1], i => Assert.Equal((float)batch.Beta![1], y[i]));
            Assert.Equal(0, dx.Parameters.DGamma[1]);
            if (eps == 0) Assert.All(batch.Members[1], i => Assert.Equal(0, dx.Dx[i]));
            AssertOutput(batch.TrainingOutput, y);
        }
    }

    // Where the first values are far away there is so much to cancel that a second pass has to find it.
    [Theory]
    [InlineData(200_000, 2, 1)]
    [InlineData(100_000, 2, 2)]
    public void First_values_far_from_all_others_cost_no_digits(int samples, int channels, int inner)
    {
        var batch = FarFirstValues.GetOrAdd((samples, inner), _ =>
        {
            var places = new int[channels];
            return new BatchCase(new BatchLayout([samples, channels, inner]), 3, (statistic, random) =>
                (float)(places[statistic]++ < 8 ? 1e8 + statistic : random.NextGaussian()));
        });
        AssertMoments(batch, MomentsOf(batch, 2));
    }

    private static readonly ConcurrentDictionary<(int, int), BatchCase> FarFirstValues = new();

    [Theory]
    [InlineData(1 << 25, 1)]
    [InlineData(1 << 24, 2)]
    public void Thirty_three_million_ones_have_mean_one_and_no_variance(int rows, int channels)
    {
        AssertMany(rows, channels, (_, _) => 1, mean: 1, variance: 0, expected: _ => 0);
    }

    [Theory]
    [InlineData(1 << 25, 1)]
    [InlineData(1 << 24, 2)]
    public void Thirty_three_million_alternating_zeros_and_ones_have_their_exact_moments(int rows, int channels)
    {
        AssertMany(rows, channels, (row, _) => row & 1, mean: 0.5, variance: 0.25, expected: x => x == 0 ? -1 : 1);
    }

    [Theory]
    [InlineData(float.NaN, double.NaN)]
    [InlineData(float.PositiveInfinity, double.PositiveInfinity)]
    [InlineData(float.NegativeInfinity, double.NegativeInfinity)]
    public void A_value_that_is_not_finite_poisons_its_own_channel_alone(float value, double mean)
    {
        foreach (var columns in new[] { true, false })
        {
            foreach (var place in new[] { 0, 5, 99, 100, 199 })
            {
                var batch = Poisoned(columns, place, value, out var clean);
                var moments = MomentsOf(batch);
                Assert.False(moments.IsFinite);
                Assert.Equal(mean, moments.Mean[1]);
                Assert.Equal(double.NaN, moments.M2[1]);
                var y = TrainingOutput(batch);
                Assert.All(batch.Members[1], i => Assert.Equal(float.NaN, y[i]));
                AssertSameElsewhere(clean, moments, TrainedOutput(batch, 1));
                AssertSameElsewhere(clean, moments, y);
                Assert.True(MomentsOf(clean).IsFinite);
            }
        }
    }

    [Fact]
    public void Infinities_of_both_signs_have_no_mean()
    {
        foreach (var columns in new[] { true, false })
        {
            var batch = HardBatches.Of(columns, 100, 1e-5, (place, random) =>
                place == 20 ? double.PositiveInfinity : place == 70 ? double.NegativeInfinity : random.NextGaussian());
            Assert.Equal(double.NaN, MomentsOf(batch).Mean[1]);
            Assert.False(MomentsOf(batch).IsFinite);
        }
    }

    [Fact]
    public void In_inference_a_value_that_is_not_finite_concerns_itself_alone()
    {
        foreach (var columns in new[] { true, false })
        {
            foreach (var value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
            {
                var clean = HardBatches.Of(columns, 200, 1e-5, (_, random) => random.NextGaussian());
                var x = (float[])clean.X.Clone();
                var poisoned = clean.Members[1][77];
                x[poisoned] = value;
                using var map = AffineMap.Of(clean.Running, clean.Gamma, clean.Beta, clean.Eps);
                var (expected, y) = (Output(clean, map, Activation.Relu), new float[x.Length]);
                expected[poisoned] = float.IsNaN(value) ? value : Math.Max(0, value * (float)clean.Gamma![1]);
                Forward.Apply(clean.Plan, x, map, Activation.Relu, y, Settings());
                Assert.Equal(expected, y);
            }
        }
    }

    private BatchCase Poisoned(bool columns, int place, float value, out BatchCase clean)
    {
        clean = HardBatches.Of(columns, 200, 1e-5, (_, random) => random.NextGaussian());
        return HardBatches.Of(columns, 200, 1e-5, (at, random) =>
        {
            // Noise is taken for the poisoned place too, so that all others are the same.
            var noise = random.NextGaussian();
            return at == place ? value : noise;
        });
    }

    private void AssertSameElsewhere(BatchCase clean, Moments moments, float[] y)
    {
        var expected = MomentsOf(clean);
        foreach (var statistic in new[] { 0, 2 })
        {
            Assert.Equal(expected.Mean[statistic], moments.Mean[statistic]);
            Assert.Equal(expected.M2[statistic], moments.M2[statistic]);
        }
        var exact = (float[])TrainingOutput(clean).Clone();
        foreach (var statistic in new[] { 0, 2 })
        {
            foreach (var i in clean.Members[statistic]) exact[i] = y[i];
        }
        AssertOutput(clean.TrainingOutput, exact);
    }

    private void AssertMany(int rows, int channels, Func<int, int, float> value, double mean, double variance, Func<float, float> expected)
    {
        var shape = new Shape(rows, channels);
        var plan = Layout.Of(shape, new NormalizerOptions { NumFeatures = channels });
        using var tensor = Tensor.Rent(shape);
        var x = tensor.Data;
        for (var i = 0; i < x.Length; i++) x[i] = value(i / channels, i % channels);
        var moments = Forward.BatchMoments(plan, x, Settings(2));
        Assert.All(moments.Mean, m => Assert.Equal(mean, m));
        Assert.All(moments.Variance(unbiased: false), v => Assert.Equal(variance, v));
        using var map = AffineMap.Of(moments, null, null, 0);
        Forward.Apply(plan, x, map, Activation.None, x, Settings(2));
        var wrong = 0;
        for (var i = 0; i < x.Length; i++) wrong += x[i] == expected(value(i / channels, i % channels)) ? 0 : 1;
        Assert.Equal(0, wrong);
    }
}
