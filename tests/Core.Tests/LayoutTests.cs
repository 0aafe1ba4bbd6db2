using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Tests;

public sealed class LayoutTests
{
    [Theory]
    [InlineData(new[] { 4, 3 }, 1, Granularity.PerChannel, 4, 3, 1)]
    [InlineData(new[] { 4, 3, 5 }, 1, Granularity.PerChannel, 4, 3, 5)]
    [InlineData(new[] { 4, 3, 5, 6 }, 1, Granularity.PerChannel, 4, 3, 30)]
    [InlineData(new[] { 4, 3, 5, 6, 7 }, 1, Granularity.PerChannel, 4, 3, 210)]
    [InlineData(new[] { 4, 5, 3 }, -1, Granularity.PerChannel, 20, 3, 1)]
    [InlineData(new[] { 4, 5, 6, 7, 3 }, -1, Granularity.PerChannel, 840, 3, 1)]
    [InlineData(new[] { 4, 3, 5 }, 1, Granularity.PerActivation, 4, 15, 1)]
    [InlineData(new[] { 4, 5, 3 }, -1, Granularity.PerActivation, 4, 15, 1)]
    public void A_batch_is_seen_as_outer_times_statistics_times_inner(
        int[] shape, int axis, Granularity granularity, int outer, int statistics, int inner)
    {
        var plan = Layout.Of(new Shape(shape), Options(3, axis, granularity));
        Assert.Equal(new ChannelView(outer, statistics, inner), plan.View);
        Assert.Equal(statistics, plan.Statistics);
        Assert.Equal((long)outer * inner, plan.Count);
        Assert.Equal(inner == 1, plan.View.IsColumns);
    }

    [Theory]
    [InlineData(new[] { 4, 1 }, 1)]
    [InlineData(new[] { 2, 1, 2 }, 1)]
    [InlineData(new[] { 2, 2, 1 }, -1)]
    public void A_single_channel_is_one_long_run(int[] shape, int axis) =>
        Assert.Equal(new ChannelView(1, 1, 4), Layout.Of(new Shape(shape), Options(1, axis)).View);

    [Theory]
    [InlineData(new[] { 3 }, "x: expected 2D to 5D input (got 1D input of shape [3])")]
    [InlineData(new[] { 1, 3, 1, 1, 1, 1 }, "x: expected 2D to 5D input (got 6D input of shape [1, 3, 1, 1, 1, 1])")]
    [InlineData(new[] { 4, 5 }, "x: expected 3 channels (num_features) along axis 1, got 5 in input of shape [4, 5]")]
    [InlineData(new[] { 4, 5, 3 }, "x: expected 3 channels (num_features) along axis 1, got 5 in input of shape [4, 5, 3]")]
    public void A_batch_that_does_not_fit_is_refused(int[] shape, string message)
    {
        var refusal = Assert.Throws<LayerException>(() => Layout.Of(new Shape(shape), Options(3, 1)));
        Assert.Equal((LayerError.ShapeMismatch, message), (refusal.Error, refusal.Message));
    }

    [Fact]
    public void Channels_last_looks_at_the_last_axis()
    {
        var refusal = Assert.Throws<LayerException>(() => Layout.Of(new Shape(4, 3, 5), Options(3, -1)));
        Assert.Equal("x: expected 3 channels (num_features) along axis -1, got 5 in input of shape [4, 3, 5]", refusal.Message);
    }

    [Theory]
    [InlineData(new[] { 1, 3 }, 1, Granularity.PerChannel, "[1, 3]")]
    [InlineData(new[] { 1, 3, 1, 1 }, 1, Granularity.PerChannel, "[1, 3, 1, 1]")]
    [InlineData(new[] { 1, 5, 3 }, 1, Granularity.PerActivation, "[1, 5, 3]")]
    public void A_variance_of_a_single_value_is_refused_in_the_words_of_PyTorch(int[] shape, int axis, Granularity granularity, string text)
    {
        var plan = Layout.Of(new Shape(shape), Options(shape[1], axis, granularity));
        var refusal = Assert.Throws<LayerException>(() => plan.RequireVariance(new Shape(shape)));
        Assert.Equal(LayerError.BatchTooSmall, refusal.Error);
        Assert.Equal($"x: expected more than 1 value per channel when training, got input size {text}", refusal.Message);
    }

    [Theory]
    [InlineData(2, 3)]
    [InlineData(0, 3)]
    public void Any_other_number_of_values_has_a_variance_or_needs_none(int rows, int channels)
    {
        var shape = new Shape(rows, channels);
        var plan = Layout.Of(shape, Options(channels, 1));
        plan.RequireVariance(shape);
        Assert.NotEqual(1, plan.Count);
    }

    public static TheoryData<string, NormalizerOptions> Mistakes => new()
    {
        { "num_features must be a whole number of 1 or more, got 0", Options(0, 1) },
        { "eps must be a finite number of 0 or more, got -1", Options(3, 1) with { Eps = -1 } },
        { "eps must be a finite number of 0 or more, got NaN", Options(3, 1) with { Eps = double.NaN } },
        { "momentum must be a number from 0 to 1 (the weight of the new batch), or null for the average over all batches, got 1.5",
            Options(3, 1) with { Momentum = 1.5 } },
        { "momentum must be a number from 0 to 1 (the weight of the new batch), or null for the average over all batches, got NaN",
            Options(3, 1) with { Momentum = double.NaN } },
        { "channel_axis must be 1, or -1 for channels last, got 0", Options(3, 0) },
        { "gamma_init must be a finite number, got Infinity", Options(3, 1) with { GammaInit = double.PositiveInfinity } },
        { "beta_init must be a finite number, got NaN", Options(3, 1) with { BetaInit = double.NaN } },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void An_option_out_of_its_range_is_refused_by_name(string message, NormalizerOptions options)
    {
        var refusal = Assert.Throws<LayerException>(options.Validated);
        Assert.Equal((LayerError.InvalidOption, message), (refusal.Error, refusal.Message));
    }

    [Fact]
    public void The_bounds_of_the_ranges_are_allowed()
    {
        foreach (var momentum in new double?[] { 0, 1, null })
        {
            var options = Options(1, -1) with { Momentum = momentum, Eps = 0 };
            Assert.Same(options, options.Validated());
        }
    }

    private static NormalizerOptions Options(int channels, int axis, Granularity granularity = Granularity.PerChannel) =>
        new() { NumFeatures = channels, ChannelAxis = axis, Granularity = granularity };
}
