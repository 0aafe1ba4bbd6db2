using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Tests;

/// <summary>Plans and options of the kinds whose statistics are not over the batch.</summary>
public sealed class KindLayoutTests
{
    private const NormalizerKind Layer = NormalizerKind.LayerNorm, Rms = NormalizerKind.RmsNorm;
    private const NormalizerKind Group = NormalizerKind.GroupNorm, Instance = NormalizerKind.InstanceNorm;

    [Theory]
    [InlineData(Layer, new[] { 5, 4 }, 5, 4, 4)]
    [InlineData(Rms, new[] { 5, 3, 4 }, 15, 4, 4)]
    [InlineData(Layer, new[] { 5, 1, 1, 2, 4 }, 10, 4, 4)]
    public void Rows_have_a_statistic_each_and_parameters_per_position(NormalizerKind kind, int[] shape, int statistics, int parameters, int count)
    {
        var plan = Layout.Of(new Shape(shape), Options(kind));
        Assert.Equal((statistics, parameters, (long)count), (plan.Statistics, plan.Parameters, plan.Count));
        Assert.Equal((Reduction.Rows, kind == Layer), (plan.Reduction, plan.HasMean));
    }

    [Theory]
    [InlineData(new[] { 3, 6 }, 1, 2, 6, 3)]
    [InlineData(new[] { 3, 6, 5 }, 1, 2, 6, 15)]
    [InlineData(new[] { 3, 5, 2, 6 }, -1, 6, 18, 10)]
    [InlineData(new[] { 3, 6, 1, 2, 2 }, 1, 1, 3, 24)]
    public void Groups_have_a_statistic_per_sample(int[] shape, int axis, int groups, int statistics, int count)
    {
        var options = Options(Group) with { NumFeatures = 6, NumGroups = groups, ChannelAxis = axis };
        var plan = Layout.Of(new Shape(shape), options);
        Assert.Equal((statistics, 6, (long)count), (plan.Statistics, plan.Parameters, plan.Count));
        Assert.Equal((Reduction.Groups, true), (plan.Reduction, plan.HasMean));
        if (groups != 6) return;
        var instance = Layout.Of(new Shape(shape), options with { Kind = Instance, NumGroups = null });
        Assert.Equal(plan, instance);
    }

    [Theory]
    [InlineData(new[] { 2, 3 }, new[] { 4 }, "x: expected input with shape [*, 4], got [2, 3]")]
    [InlineData(new[] { 2, 4, 3 }, new[] { 2, 4 }, "x: expected input with shape [*, 2, 4], got [2, 4, 3]")]
    [InlineData(new[] { 3, 4 }, new[] { 2, 3, 4 }, "x: expected input with shape [*, 2, 3, 4], got [3, 4]")]
    [InlineData(new[] { 4 }, new[] { 4 }, "x: expected 2D to 5D input (got 1D input of shape [4])")]
    public void A_tensor_that_does_not_end_in_the_normalized_shape_is_refused(int[] shape, int[] normalized, string message)
    {
        foreach (var kind in new[] { Layer, Rms })
        {
            var refusal = Assert.Throws<LayerException>(
                () => Layout.Of(new Shape(shape), Options(kind) with { NormalizedShape = normalized }));
            Assert.Equal((LayerError.ShapeMismatch, message), (refusal.Error, refusal.Message));
        }
    }

    [Theory]
    [InlineData(Group, 1)]
    [InlineData(Instance, -1)]
    public void A_tensor_with_other_channels_is_refused(NormalizerKind kind, int axis)
    {
        var refusal = Assert.Throws<LayerException>(
            () => Layout.Of(new Shape(2, 5, 7), Options(kind) with { ChannelAxis = axis }));
        Assert.Equal(LayerError.ShapeMismatch, refusal.Error);
        Assert.Equal($"x: expected 4 channels (num_features) along axis {axis}, got {(axis == 1 ? 5 : 7)} in input of shape [2, 5, 7]", refusal.Message);
    }

    [Theory]
    [InlineData(Group, 4, new[] { 3, 4 }, "x: expected more than 1 value per group and sample, got input size [3, 4]")]
    [InlineData(Group, 4, new[] { 3, 4, 1, 1 }, "x: expected more than 1 value per group and sample, got input size [3, 4, 1, 1]")]
    [InlineData(Instance, 0, new[] { 3, 4, 1 }, "x: expected more than 1 value per channel and sample, got input size [3, 4, 1]")]
    public void A_statistic_over_a_single_value_is_refused(NormalizerKind kind, int groups, int[] shape, string message)
    {
        var plan = Layout.Of(new Shape(shape), Options(kind) with { NumGroups = groups });
        var refusal = Assert.Throws<LayerException>(() => plan.RequireVariance(new Shape(shape), kind));
        Assert.Equal((LayerError.BatchTooSmall, message), (refusal.Error, refusal.Message));
    }

    [Fact]
    public void Other_numbers_of_values_are_enough()
    {
        foreach (var (options, shape) in new (NormalizerOptions, Shape)[]
        {
            (Options(Layer) with { NormalizedShape = [1] }, new(3, 1)),
            (Options(Rms) with { NormalizedShape = [1, 1] }, new(3, 1, 1)),
            (Options(Group) with { NumGroups = 2 }, new(1, 4)),
            (Options(Instance), new(1, 4, 2)),
            (Options(Instance), new(0, 4, 1)),
        })
        {
            var plan = Layout.Of(shape, options.Validated());
            Assert.Null(Record.Exception(() => plan.RequireVariance(shape)));
        }
    }

    [Fact]
    public void Running_statistics_belong_to_channels()
    {
        var plan = Layout.ForRunningStatistics(new Shape(3, 4, 5), Options(Instance) with { TrackRunningStats = true });
        Assert.Equal((Reduction.Channels, 4, 15L), (plan.Reduction, plan.Statistics, plan.Count));
        foreach (var kind in new[] { NormalizerKind.BatchNorm, NormalizerKind.BatchRenorm })
            Assert.Equal(plan, Layout.ForRunningStatistics(new Shape(3, 4, 5), Options(kind)));
    }

    public static TheoryData<NormalizerKind, string> WireNames => new()
    {
        { NormalizerKind.BatchNorm, "batch_norm" }, { NormalizerKind.BatchRenorm, "batch_renorm" }, { Layer, "layer_norm" },
        { Group, "group_norm" }, { Instance, "instance_norm" }, { Rms, "rms_norm" },
    };

    [Theory]
    [MemberData(nameof(WireNames))]
    public void Only_kinds_with_statistics_per_channel_can_track_them(NormalizerKind kind, string name)
    {
        Assert.Equal(name, kind.WireName);
        var (tracking, without) = (Options(kind) with { TrackRunningStats = true }, Options(kind) with { TrackRunningStats = false });
        if (kind is NormalizerKind.BatchNorm or NormalizerKind.BatchRenorm or Instance) Assert.Same(tracking, tracking.Validated());
        else AssertRefused($"track_running_stats must be false for {name}, got true", tracking);
        if (kind != NormalizerKind.BatchRenorm) Assert.Same(without, without.Validated());
        else AssertRefused("track_running_stats must be true for batch_renorm, which corrects towards them, got false", without);
        if (kind != NormalizerKind.BatchRenorm)
            AssertRefused("mode must be train where track_running_stats is false, got frozen", without with { Mode = NormalizationMode.Frozen });
    }

    public static TheoryData<string, NormalizerOptions> Mistakes => new()
    {
        { "num_features must be divisible by num_groups, got num_features 4 and num_groups 3", Options(Group) with { NumGroups = 3 } },
        { "num_features must be divisible by num_groups, got num_features 4 and num_groups 8", Options(Group) with { NumGroups = 8 } },
        { "num_groups must be a whole number of 1 or more, got 0", Options(Group) with { NumGroups = 0 } },
        { "num_groups must be a whole number of 1 or more, got nothing", Options(Group) with { NumGroups = null } },
        { "num_features must be a whole number of 1 or more, got 0", Options(Instance) with { NumFeatures = 0 } },
        { "normalized_shape must be 1 to 4 dimensions, got 0 dimensions", Options(Layer) with { NormalizedShape = null } },
        { "normalized_shape must be 1 to 4 dimensions, got 0 dimensions", Options(Rms) with { NormalizedShape = [] } },
        { "normalized_shape must be 1 to 4 dimensions, got 5 dimensions", Options(Rms) with { NormalizedShape = [1, 1, 1, 1, 1] } },
        { "normalized_shape must be dimensions of 1 or more, got [3, 0]", Options(Layer) with { NormalizedShape = [3, 0] } },
        { "normalized_shape must be at most 2147483647 elements, got [65536, 65536]", Options(Layer) with { NormalizedShape = [65536, 65536] } },
        { "eps must be a finite number of 0 or more, got -1", Options(Rms) with { Eps = -1 } },
        { "ghost_batch_size must be a whole number of 2 or more, or null for the whole batch, got 1",
            Options(NormalizerKind.BatchNorm) with { GhostBatchSize = 1 } },
        { "renorm.r_max must be a finite number of 1 or more, got 0.5", Renorm(new(0.5)) },
        { "renorm.r_max must be a finite number of 1 or more, got NaN", Renorm(new(double.NaN)) },
        { "renorm.d_max must be a finite number of 0 or more, got -1", Renorm(new(DMax: -1)) },
        { "renorm.d_max must be a finite number of 0 or more, got Infinity", Renorm(new(DMax: double.PositiveInfinity)) },
        { "renorm.warmup_steps must be a whole number of 0 or more, got -1", Renorm(new(WarmupSteps: -1)) },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void An_option_that_does_not_fit_the_kind_is_refused_by_name(string message, NormalizerOptions options) => AssertRefused(message, options);

    [Fact]
    public void The_bounds_of_the_ranges_are_allowed()
    {
        foreach (var options in new[]
        {
            Options(Group) with { NumGroups = 1 }, Options(Group) with { NumGroups = 4 }, Options(Layer) with { NormalizedShape = [1, 1, 1, 1] },
            Options(Rms) with { Eps = 0 }, Options(NormalizerKind.BatchNorm) with { GhostBatchSize = 2 }, Renorm(new(1, 0, 0)),
        })
        {
            Assert.Same(options, options.Validated());
        }
    }

    private static void AssertRefused(string message, NormalizerOptions options)
    {
        var refusal = Assert.Throws<LayerException>(options.Validated);
        Assert.Equal((LayerError.InvalidOption, message), (refusal.Error, refusal.Message));
    }

    private static NormalizerOptions Renorm(RenormLimits limits) => Options(NormalizerKind.BatchRenorm) with { Renorm = limits };

    private static NormalizerOptions Options(NormalizerKind kind) => new()
    {
        Kind = kind,
        NumFeatures = 4,
        NormalizedShape = kind is Layer or Rms ? [4] : null,
        NumGroups = kind == Group ? 2 : null,
        TrackRunningStats = kind is NormalizerKind.BatchNorm or NormalizerKind.BatchRenorm,
    };
}
