using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Layers;

public sealed class JointStatisticsTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 2, Momentum = 0.25 };

    private static Batch Pass(params int[] shape) => Pass(Options, shape);

    private static Batch Pass(NormalizerOptions options, params int[] shape) =>
        Batch.Of(LayerState.Create(options.Validated()), new Shape(shape), ComputeSettings.Default);

    [Fact]
    public void The_layer_advances_once_by_all_ranks_together()
    {
        // Channel 0 has 1, 3, 5 and 7, channel 1 has 2 throughout.
        var moments = Moments.Merge(Pass(1, 2).OwnMoments(new float[] { 1, 2 }, null), Pass(3, 2).OwnMoments(new float[] { 3, 2, 5, 2, 7, 2 }, null));
        Assert.Equal((4, 1), (moments.Count, LayerState.Create(Options).Version));
        foreach (var samples in new[] { 0, 1, 3 })
        {
            var after = LayerState.Create(Options).Advance(Pass(samples, 2).Join(moments, null));
            Assert.Equal((2, 1), (after.Version, after.Running!.BatchesTracked));
            Assert.Equal([1, 0.5], after.Running.Mean); // 0.75·0 + 0.25·4
            Assert.Equal(0.75 + (0.25 * 20 / 3), after.Running.Variance[0], 1e-15);
            Assert.Equal(0.75, after.Running.Variance[1]);
            Assert.Equal([4, 2], after.LastBatch!.Mean);
            Assert.Equal([5, 0], after.LastBatch.Variance);
            Assert.Equal((4, 4), (after.LastBatch.Count, after.Seen!.Count));
        }
    }

    [Fact]
    public void A_rank_without_samples_has_moments_of_nothing_and_an_empty_output()
    {
        foreach (var (options, shape, statistics) in new (NormalizerOptions, int[], int)[]
        {
            (Options, [0, 2], 2), (Options, [0, 2, 5], 2), (Options with { ChannelAxis = -1 }, [0, 5, 2], 2),
            (Options with { Granularity = Granularity.PerActivation }, [0, 2, 5], 10), (Options with { NumFeatures = 1 }, [0, 1, 5], 1),
            (Options, [3, 2, 0], 2), (Options with { Kind = NormalizerKind.BatchRenorm }, [0, 2, 3], 2),
        })
        {
            var pass = Batch.Of(
                LayerState.Create(options).SizedFor(Layout.Of(new Shape(shape), options)), new Shape(shape), ComputeSettings.Default);
            var own = pass.OwnMoments(default, null);
            Assert.Equal((0, statistics), (own.Count, own.Channels));
            double[] Each(double value) => [.. Enumerable.Repeat(value, statistics)];
            var joint = pass.Join(Moments.Merge(own, new(3, Each(1), Each(0), Each(6))), null);
            pass.Write(default, joint, default, default);
            using var output = pass.Output(joint);
            output.Apply(0, [], [], []);
            var sums = pass.SumGradients(default, default, joint, default, default);
            Assert.Equal(Each(0), sums.SumDy);
            Assert.Equal(Each(0), sums.SumDyXmu);
            var gradients = pass.JoinedGradients(default, default, joint, sums, sums, default);
            Assert.Equal(Each(0), gradients.DGamma);
            Assert.Equal(Each(0), gradients.DBeta);
        }
    }

    [Fact]
    public void Ranks_that_are_all_empty_move_nothing()
    {
        var (pass, before) = (Pass(0, 2), LayerState.Create(Options));
        var joint = pass.Join(Moments.Merge(pass.OwnMoments(default, null), pass.OwnMoments(default, null)), null);
        Assert.Same(before, before.Advance(joint));
        pass.Write(default, joint, default, default);
    }

    [Fact]
    public void One_value_per_channel_is_too_few_for_all_ranks_and_enough_for_one()
    {
        var own = Pass(1, 2).OwnMoments(new float[] { 1, 2 }, null);
        foreach (var (samples, mask) in new (int, BatchMask?)[] { (1, null), (0, null), (2, BatchMask.OfSamples(true, false)) })
        {
            var refused = Assert.Throws<LayerException>(() => Pass(samples, 2).Join(own, mask));
            Assert.Equal(LayerError.BatchTooSmall, refused.Error);
            Assert.Equal(mask is null
                ? $"x: expected more than 1 value per channel when training, got input size [{samples}, 2]"
                : "mask leaves 1 of the values per channel in the parts of all ranks together: a variance needs 2 or more", refused.Message);
        }
        var y = new float[2];
        Pass(1, 2).Write(new float[] { 1, 2 }, Pass(1, 2).Join(Moments.Merge(own, Pass(1, 2).OwnMoments(new float[] { 3, 2 }, null)), null), default, y);
        Assert.Equal([-0.999995f, 0], y);
    }

    [Fact]
    public void A_mask_may_leave_nothing_of_a_rank_but_not_of_all()
    {
        var pass = Pass(2, 2);
        var (none, second) = (BatchMask.OfSamples(false, false), BatchMask.OfSamples(false, true));
        var own = pass.OwnMoments(new float[] { 1, 2, 3, 4 }, none);
        Assert.Equal((0, 2), (own.Count, own.Channels));
        var refused = Assert.Throws<LayerException>(() => pass.Join(own, none));
        Assert.Equal((LayerError.BatchTooSmall, "mask leaves 0 of the values per channel in the parts of all ranks together: a variance needs 2 or more"), (refused.Error, refused.Message));
        Assert.Equal(1, pass.OwnMoments(new float[] { 1, 2, 3, 4 }, second).Count);
        Assert.Equal([3, 4], pass.OwnMoments(new float[] { 1, 2, 3, 4 }, second).Mean);
    }

    [Fact]
    public void Moments_that_were_gathered_are_taken_as_they_are()
    {
        var gathered = new Moments(2, [1, 2], [0, 0], [3, 4]);
        Assert.Same(gathered, Pass(2, 2).OwnMoments(default, null, gathered));
    }

    [Fact]
    public void Renormalization_corrects_all_ranks_towards_the_running_statistics_alike()
    {
        var options = Options with { Kind = NormalizerKind.BatchRenorm, Renorm = new(2, 0.5, 0), Eps = 0 };
        // μ = 4 and σ = √5 against 0 and 1: r and d are cut to 2 and 0.5.
        var joint = Pass(options, 3, 2).Join(new Moments(4, [4, 0], [0, 0], [20, 4]), null);
        Assert.Equal([2, 1], joint.Parts[0].Correction!.R);
        Assert.Equal([0.5, 0], joint.Parts[0].Correction!.D);
        Assert.Null(Pass(3, 2).Join(joint.Moments, null).Parts[0].Correction);
    }

    [Theory]
    [InlineData(NormalizerKind.LayerNorm, "layer_norm")]
    [InlineData(NormalizerKind.GroupNorm, "group_norm")]
    [InlineData(NormalizerKind.InstanceNorm, "instance_norm")]
    [InlineData(NormalizerKind.RmsNorm, "rms_norm")]
    public void Kinds_that_normalize_each_sample_by_itself_have_nothing_to_synchronize(NormalizerKind kind, string name)
    {
        var pass = Pass(new NormalizerOptions
        {
            Kind = kind,
            NumFeatures = 2,
            NormalizedShape = kind.IsOverRows ? [2] : null,
            NumGroups = kind == NormalizerKind.GroupNorm ? 1 : null,
            TrackRunningStats = false,
        }, 3, 2);
        AssertRefused(pass, $"synchronized statistics belong to batch_norm and batch_renorm; {name} normalizes each sample by itself");
    }

    [Fact]
    public void Ghost_batches_exclude_synchronized_statistics() => AssertRefused(
        Pass(Options with { GhostBatchSize = 4 }, 3, 2),
        "ghost batches and synchronized statistics exclude each other: the one cuts a batch, the other joins its parts; got ghost_batch_size 4");

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        var (pass, moments) = (Pass(3, 2), new Moments(9, [0, 0], [0, 0], [1, 1]));
        Assert.Equal(LayerError.ShapeMismatch, Assert.Throws<LayerException>(() => pass.OwnMoments(new float[6], BatchMask.OfSamples(true))).Error);
        Assert.Equal(LayerError.ShapeMismatch, Assert.Throws<LayerException>(() => pass.Join(moments, BatchMask.OfSamples(true))).Error);
        var refused = Assert.Throws<LayerException>(() => pass.Join(Moments.Empty(3), null));
        Assert.Equal((LayerError.ShapeMismatch, "the parts of a batch must have the same number of statistics, got 3 and 2 for a part of shape [3, 2]"),
            (refused.Error, refused.Message));

        var (values, joint) = (new float[6], pass.Join(moments, null));
        var own = pass.SumGradients(values, values, joint, default, values);
        Assert.Throws<ArgumentException>("statistics", () => pass.Gradients(values, values, joint, default, new float[6], default));
        var alone = pass.Measure(values, null);
        Assert.Throws<ArgumentException>("statistics", () => pass.SumGradients(values, values, alone, default, new float[6]));
        Assert.Throws<ArgumentException>("statistics", () => pass.JoinedGradients(values, values, alone, own, own, new float[6]));
        Assert.Throws<ArgumentException>("own", () => pass.JoinedGradients(values, values, joint, GradientSums.Empty(3), own, new float[6]));
        Assert.Throws<ArgumentException>("total", () => pass.JoinedGradients(values, values, joint, own, GradientSums.Empty(3), new float[6]));
        Assert.Throws<ArgumentException>("dx", () => pass.JoinedGradients(values, values, joint, own, own, new float[5]));
        var masked = pass.Join(moments, BatchMask.OfSamples(true, false, true));
        Assert.Throws<ArgumentException>("dx", () => pass.JoinedGradients(values, values, masked, own, own, values));
        Assert.Throws<ArgumentException>("sumDyXmu", () => new GradientSums([1], [1, 2]));
        Assert.Throws<ArgumentException>("other", () => GradientSums.Empty(1).Plus(GradientSums.Empty(2)));
    }

    private static void AssertRefused(Batch pass, string message)
    {
        foreach (var refused in new[]
        {
            Assert.Throws<LayerException>(() => pass.OwnMoments(new float[6], null)),
            Assert.Throws<LayerException>(() => pass.OwnMoments(default, null, new Moments(1, [0], [0], [0]))),
            Assert.Throws<LayerException>(() => pass.Join(new Moments(9, [0, 0], [0, 0], [1, 1]), null)),
        }) Assert.Equal((LayerError.InvalidOption, message), (refused.Error, refused.Message));
    }
}
