using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

public abstract partial class KindsContract
{
    private const int GuardedCapacity = 160_000;

    private static readonly int[] GridSizes = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70];

    // Every pair of sizes of two dimensions: what unrolling leaves, few and many statistics, fused passes and others.
    private static readonly Lazy<KindCase[]> Grid = new(() =>
    [
        .. from a in GridSizes
           from b in GridSizes
           from layout in new KindLayout[]
           {
               new(NormalizerKind.LayerNorm, [a, b]),
               new(NormalizerKind.RmsNorm, [a, b], HasBeta: false),
               new(NormalizerKind.GroupNorm, [2, 2 * a, b], Groups: a),
               new(NormalizerKind.GroupNorm, [2, b, 2 * a], ChannelAxis: -1, Groups: a, HasGamma: false),
               new(NormalizerKind.InstanceNorm, [2, a, b], HasBeta: false),
           }
           select KindCatalog.Typical(layout, a + (71 * b)),
    ]);

    [Fact]
    public void Tensors_of_every_pair_of_sizes_are_right() => ForEach(Grid.Value, @case =>
    {
        var (mean, variance) = @case.Moments;
        var (y, moments) = Trained(@case);
        for (var s = 0; s < mean.Length; s++)
        {
            var largest = @case.Reference.Members[s].Max(i => Math.Abs((double)@case.X[i]));
            AssertWithin(StatisticsTolerance * largest, mean[s], moments.Mean[s], $"mean[{s}]");
            AssertWithin(StatisticsTolerance * variance[s], variance[s], moments.M2[s] / moments.Count, $"variance[{s}]");
        }
        for (var i = 0; i < y.Length; i++)
        {
            var (p, s) = (@case.Reference.ParameterOf(i), @case.Reference.StatisticOf(i));
            var (gamma, beta) = (@case.Gamma?[p] ?? 1, @case.Beta?[p] ?? 0);
            var scaled = gamma * @case.Normalized[i];
            var largest = Math.Max(Math.Abs(scaled + beta), Math.Max(Math.Abs(scaled), Math.Abs(beta)));
            // The reference knows the mean only to double precision.
            var known = 1e-15 * Math.Abs(gamma * mean[s]) / Math.Sqrt(variance[s] + @case.Eps);
            AssertWithin((4 * Math.ScaleB(largest, -24)) + known, scaled + beta, y[i], $"y[{i}]");
        }
        AssertNear(@case.Gradients.Dx, BatchCase.Widened(GradientsOf(@case, @case.Dy).Dx), 1e-14 * TermsOf(@case, @case.Dy), "dx");
    });

    [Fact]
    public void No_kernel_of_any_kind_touches_memory_outside_its_tensors()
    {
        using var x = new GuardedFloats(GuardedCapacity);
        using var dy = new GuardedFloats(GuardedCapacity);
        using var residual = new GuardedFloats(GuardedCapacity);
        using var output = new GuardedFloats(GuardedCapacity);
        var large = KindCatalog.Large.Where(@case => @case.X.Length is > 65_536 and <= GuardedCapacity).Where((_, i) => i % 3 == 0).ToArray();
        Assert.True(large.Length >= 4, $"{large.Length} large tensors");
        ForEach([.. KindCatalog.Small, .. large], @case =>
        {
            float[][] expected =
            [
                Trained(@case, Activation.Relu, withResidual: true).Y, ThroughRelu(@case, withResidual: true), GradientsOf(@case, @case.Dy).Dx,
                Trained(@case).Y,
            ];
            foreach (var atEnd in new[] { false, true })
            {
                foreach (var settings in new[] { Settings(), Streaming() })
                    RunBetweenGuards(@case, expected, [x, dy, residual, output], atEnd, settings);
            }
        });
    }

    public static TheoryData<NormalizerKind, int[], int, int> Empty => new()
    {
        { NormalizerKind.LayerNorm, [0, 4], 1, 1 }, { NormalizerKind.LayerNorm, [3, 0, 4], 1, 1 }, { NormalizerKind.LayerNorm, [0, 1], 1, 1 },
        { NormalizerKind.RmsNorm, [0, 4], 1, 1 }, { NormalizerKind.RmsNorm, [0, 3, 1], 1, 1 },
        { NormalizerKind.GroupNorm, [0, 4], 1, 2 }, { NormalizerKind.GroupNorm, [0, 4, 5], 1, 4 }, { NormalizerKind.GroupNorm, [3, 4, 0], 1, 2 },
        { NormalizerKind.GroupNorm, [3, 0, 4], -1, 2 }, { NormalizerKind.GroupNorm, [2_000_000_000, 4, 0], 1, 2 },
        { NormalizerKind.InstanceNorm, [0, 4, 5], 1, 1 }, { NormalizerKind.InstanceNorm, [3, 4, 0, 7], 1, 1 },
        { NormalizerKind.InstanceNorm, [3, 0, 4], -1, 1 }, { NormalizerKind.InstanceNorm, [1_000_000_000, 0, 1_000_000_000, 4], -1, 1 },
    };

    [Theory]
    [MemberData(nameof(Empty))]
    public void Without_elements_there_are_no_statistics(NormalizerKind kind, int[] dimensions, int axis, int groups)
    {
        var options = new NormalizerOptions
        {
            Kind = kind,
            NumFeatures = 4,
            NormalizedShape = kind is NormalizerKind.LayerNorm or NormalizerKind.RmsNorm ? [dimensions[^1]] : null,
            NumGroups = groups,
            ChannelAxis = axis,
            TrackRunningStats = false,
        };
        var plan = Layout.Of(new Shape(dimensions), options);
        Assert.Equal((0, 0, 0, 0), (plan.Elements, plan.Statistics, (int)plan.Count, plan.Slices * (plan.Reduction == Reduction.Groups ? 1 : 0)));
        plan.RequireVariance(new Shape(dimensions));
        double[] gamma = new double[plan.Parameters], beta = new double[plan.Parameters];
        var moments = Forward.Train<float>(plan, [], new(gamma, beta, 1e-5, Activation.Relu), [], Settings(2));
        Assert.Equal((0, 0), ((int)moments.Count, moments.Channels));
        Assert.Equal(0, Forward.BatchMoments<float>(plan, [], Settings()).Channels);
        Forward.Apply<float>(plan, [], moments, new(gamma, null, 1e-5), [], Settings());
        Backward.ThroughRelu<float>(plan, [], [], moments, new(gamma, beta, 1e-5), [], Settings());
        var gradients = Backward.Training<float>(plan, [], [], moments, gamma, 1e-5, [], Settings());
        Assert.Equal(new double[plan.Parameters], gradients.DGamma);
        Assert.Equal(new double[plan.Parameters], gradients.DBeta);
    }

    [Fact]
    public void Lengths_that_do_not_fit_are_refused_in_every_kind() => ForEach(OneOfEach.Select(layout => KindCatalog.Typical(layout, 2)), @case =>
    {
        var (x, y, moments) = (@case.X, new float[@case.X.Length], MomentsOf(@case));
        var shorter = new float[x.Length - 1];
        var (few, layer) = (new double[@case.Reference.Parameters - 1], @case.Parameters());
        Assert.Throws<ArgumentException>("x", () => Forward.BatchMoments(@case.Plan, shorter, Settings()));
        Assert.Throws<ArgumentException>("y", () => Forward.Train(@case.Plan, x, layer, shorter, Settings()));
        Assert.Throws<ArgumentException>("residual", () => Forward.Train(@case.Plan, x, layer, y, Settings(), shorter));
        Assert.Throws<ArgumentException>("residual", () => Forward.Apply(@case.Plan, x, moments, layer, y, Settings(), shorter));
        Assert.Throws<ArgumentException>("gamma", () => Forward.Train(@case.Plan, x, layer with { Gamma = few }, y, Settings()));
        Assert.Throws<ArgumentException>("beta", () => Forward.Apply(@case.Plan, x, moments, layer with { Beta = few }, y, Settings()));
        Assert.Throws<ArgumentException>("gamma", () => Backward.Training(@case.Plan, x, y, moments, few, 1e-5, y, Settings()));
        var other = Moments.Empty(moments.Channels - 1);
        Assert.Throws<ArgumentException>("moments", () => Forward.Apply(@case.Plan, x, other, layer, y, Settings()));
        Assert.Throws<ArgumentException>("moments", () => Backward.ThroughRelu(@case.Plan, x, y, other, layer, y, Settings()));
        Assert.Throws<ArgumentException>("residual", () => Backward.ThroughRelu(@case.Plan, x, y, moments, layer, y, Settings(), shorter));
        Assert.Throws<ArgumentException>("batch", () => Backward.Training(@case.Plan, x, y, other, null, 1e-5, y, Settings()));
    });

    private static void RunBetweenGuards(KindCase @case, float[][] expected, GuardedFloats[] all, bool atEnd, ComputeSettings settings)
    {
        var (count, layer) = (@case.X.Length, @case.Parameters(Activation.Relu));
        foreach (var memory in all) memory.Clear(count, atEnd);
        Span<float> source = all[0].Of(count, atEnd), gradient = all[1].Of(count, atEnd);
        Span<float> added = all[2].Of(count, atEnd), y = all[3].Of(count, atEnd);
        @case.X.CopyTo(source);
        @case.Dy.CopyTo(gradient);
        @case.Residual.CopyTo(added);

        var moments = Forward.Train(@case.Plan, source, layer, y, settings, added);
        AssertSameBits(expected[0], y.ToArray());
        Backward.ThroughRelu(@case.Plan, source, gradient, moments, layer, y, settings, added);
        AssertSameBits(expected[1], y.ToArray());
        Backward.Training(@case.Plan, source, gradient, moments, @case.Gamma, @case.Eps, y, settings);
        AssertSameBits(expected[2], y.ToArray());
        AssertSameMoments(moments, Forward.BatchMoments(@case.Plan, source, settings));
        Forward.Apply(@case.Plan, source, moments, @case.Parameters(), y, settings);
        AssertSameBits(expected[3], y.ToArray());

        Assert.True(source.SequenceEqual(@case.X) && gradient.SequenceEqual(@case.Dy), "an input was written to");
        Assert.True(added.SequenceEqual(@case.Residual), "the residual was written to");
        foreach (var memory in all) memory.AssertUntouched(count, atEnd);
    }
}
