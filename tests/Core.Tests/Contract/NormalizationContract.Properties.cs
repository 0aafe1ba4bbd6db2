using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    /// <summary>Shapes of both memory layouts whose first dimension can be cut and permuted.</summary>
    public static TheoryData<string> Layouts => [.. PropertyLayouts.Keys];

    private static readonly Dictionary<string, BatchLayout> PropertyLayouts = new()
    {
        ["columns"] = new([66, 19], HasGamma: true, HasBeta: false, Eps: 0),
        ["channels last"] = new([6, 11, 5], -1, HasGamma: true, HasBeta: false, Eps: 0),
        ["runs"] = new([6, 5, 37], HasGamma: true, HasBeta: false, Eps: 0),
        ["one channel"] = new([66, 1], HasGamma: true, HasBeta: false, Eps: 0),
        ["per activation"] = new([66, 3, 5], 1, Granularity.PerActivation, HasGamma: true, HasBeta: false, Eps: 0),
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Permuting_the_samples_leaves_the_moments_as_they_are(string name)
    {
        var batch = Gaussian(name);
        var (samples, size) = Samples(batch);
        var order = Enumerable.Range(0, samples).ToArray();
        new Random(5).Shuffle(order);
        float[] permuted = [.. order.SelectMany(sample => batch.X.AsSpan(sample * size, size).ToArray())];
        Assert.NotEqual(batch.X, permuted);
        AssertClose(MomentsOf(batch), Forward.BatchMoments(batch.Plan, permuted, Settings()), batch);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Moments_of_halves_merge_to_those_of_the_whole(string name)
    {
        // Far from 0, where a mean in double is coarse against the deviation.
        foreach (var (mean, step) in new[] { (0.0, 0.001), (1_000_000, 0.0625), (-16_000_000, 1) })
        {
            var batch = Made(name, (_, random) => (float)(mean + (step * random.Next(-9, 10))));
            var (samples, size) = Samples(batch);
            foreach (var cut in new[] { 0, 1, samples / 2, samples - 1, samples })
            {
                var first = MomentsOfSamples(batch, 0, cut * size);
                var second = MomentsOfSamples(batch, cut * size, samples * size);
                AssertMoments(batch, Moments.Merge(first, second));
                AssertMoments(batch, Moments.Merge(second, first));
            }
            var one = Enumerable.Range(0, samples).Select(n => MomentsOfSamples(batch, n * size, (n + 1) * size)).Aggregate(Moments.Merge);
            AssertMoments(batch, one);
        }
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_power_of_two_scales_the_moments_exactly_and_leaves_the_output(string name)
    {
        var batch = Gaussian(name);
        var moments = MomentsOf(batch);
        foreach (var exponent in new[] { -30, -1, 3, 40 })
        {
            var scaled = Array.ConvertAll(batch.X, x => MathF.ScaleB(x, exponent));
            var scaledMoments = Forward.BatchMoments(batch.Plan, scaled, Settings());
            AssertSameBits(Array.ConvertAll(moments.Mean, m => Math.ScaleB(m, exponent)), scaledMoments.Mean);
            AssertSameBits(Array.ConvertAll(moments.M2, m => Math.ScaleB(m, 2 * exponent)), scaledMoments.M2);
            using var map = AffineMap.Of(scaledMoments, batch.Gamma, batch.Beta, batch.Eps);
            var y = new float[scaled.Length];
            Forward.Apply(batch.Plan, scaled, map, Activation.None, y, Settings());
            AssertSameBits(TrainingOutput(batch), y);
        }
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_shift_moves_the_mean_and_nothing_else(string name)
    {
        // Whole multiples of 2⁻⁸ below 16: a shift by 2¹⁰ is exact in float and so is every sum in double.
        var batch = Made(name, (_, random) => random.Next(-4096, 4096) / 256f);
        var moments = MomentsOf(batch);
        var shifted = Array.ConvertAll(batch.X, x => x + 1024);
        var shiftedMoments = Forward.BatchMoments(batch.Plan, shifted, Settings());
        for (var s = 0; s < moments.Channels; s++) AssertWithin(1e-12 * 1024, moments.Mean[s] + 1024, shiftedMoments.Mean[s], $"mean[{s}]");
        AssertSameBits(moments.M2, shiftedMoments.M2);
        using var map = AffineMap.Of(shiftedMoments, batch.Gamma, batch.Beta, batch.Eps);
        var y = new float[shifted.Length];
        Forward.Apply(batch.Plan, shifted, map, Activation.None, y, Settings());
        AssertOutput(batch.TrainingOutput, y);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_negative_scale_turns_the_output_round(string name)
    {
        var batch = Gaussian(name);
        var negated = Array.ConvertAll(batch.X, x => -4 * x);
        using var map = AffineMap.Of(Forward.BatchMoments(batch.Plan, negated, Settings()), batch.Gamma, batch.Beta, batch.Eps);
        var y = new float[negated.Length];
        Forward.Apply(batch.Plan, negated, map, Activation.None, y, Settings());
        AssertSameBits(Array.ConvertAll(TrainingOutput(batch), value => -value), y);
    }

    private static BatchCase Gaussian(string name) =>
        Made(name, (statistic, random) => (float)((statistic % 5) - 1 + ((1 + (statistic % 3)) * random.NextGaussian())));

    private static BatchCase Made(string name, Func<int, Random, float> value) => new(PropertyLayouts[name], 23, value);

    private static (int Samples, int Size) Samples(BatchCase batch) => (batch.Shape[0], batch.Shape.Count / batch.Shape[0]);

    private Moments MomentsOfSamples(BatchCase batch, int from, int to)
    {
        var dimensions = (int[])batch.Layout.Shape.Clone();
        dimensions[0] = (to - from) / (batch.Shape.Count / batch.Shape[0]);
        var plan = Layout.Of(new Shape(dimensions), new NormalizerOptions
        {
            NumFeatures = batch.Layout.Shape[batch.Layout.ChannelAxis == 1 ? 1 : ^1],
            ChannelAxis = batch.Layout.ChannelAxis,
            Granularity = batch.Layout.Granularity,
        });
        return Forward.BatchMoments(plan, batch.X.AsSpan(from, to - from), Settings());
    }

    private static void AssertClose(Moments expected, Moments actual, BatchCase batch)
    {
        Assert.Equal(expected.Count, actual.Count);
        for (var s = 0; s < expected.Channels; s++)
        {
            var largest = batch.Members[s].Max(i => Math.Abs((double)batch.X[i]));
            AssertWithin(StatisticsTolerance * largest, expected.Mean[s], actual.Mean[s], $"mean[{s}]");
            AssertWithin(StatisticsTolerance * expected.M2[s], expected.M2[s], actual.M2[s], $"M2[{s}]");
        }
    }
}
