using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Layers;

public sealed class LayerStateTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 2 };

    private static Moments Batch(double mean = 3, double m2 = 12, long count = 4) => new(count, [mean, -mean], [0, 0], [m2, 2 * m2]);

    [Fact]
    public void A_new_layer_is_as_every_framework_starts()
    {
        var state = LayerState.Create(Options with { GammaInit = 0.5, BetaInit = -1 });
        Assert.Equal(1, state.Version);
        Assert.Equal([0.5, 0.5], state.Gamma!);
        Assert.Equal([-1, -1], state.Beta!);
        Assert.Equal([0, 0], state.Running!.Mean);
        Assert.Equal([1, 1], state.Running.Variance);
        Assert.Equal(0, state.Running.BatchesTracked);
        Assert.True(state.Running.IsInitial);
        Assert.True(state.FeaturesAreFixed);
        Assert.Null(state.LastBatch);
        Assert.Null(state.Optimizer);
    }

    [Fact]
    public void A_layer_has_what_its_options_ask_for_and_nothing_else()
    {
        var plain = LayerState.Create(Options with { Affine = false, TrackRunningStats = false });
        Assert.Null(plain.Gamma);
        Assert.Null(plain.Beta);
        Assert.Null(plain.Running);
        var withoutBias = LayerState.Create(Options with { Bias = false });
        Assert.NotNull(withoutBias.Gamma);
        Assert.Null(withoutBias.Beta);
        Assert.True(LayerState.Create(Options).NormalizesWithBatch);
        Assert.False(LayerState.Create(Options with { Mode = NormalizationMode.Frozen }).NormalizesWithBatch);
    }

    [Fact]
    public void A_batch_moves_the_running_statistics_and_the_version()
    {
        var before = LayerState.Create(Options with { Momentum = 0.25 });
        var after = before.Advance(Batch());
        Assert.Equal(2, after.Version);
        Assert.Equal([0.75, -0.75], after.Running!.Mean); // 0.75·0 + 0.25·3
        Assert.Equal([1.75, 2.75], after.Running.Variance); // 0.75·1 + 0.25·12/3
        Assert.Equal(1, after.Running.BatchesTracked);
        Assert.False(after.Running.IsInitial);
        Assert.Equal([3, -3], after.LastBatch!.Mean);
        Assert.Equal([3, 6], after.LastBatch.Variance); // biased: 12/4
        Assert.Equal(4, after.LastBatch.Count);
        // Who held the old state still holds it.
        Assert.Equal((1, 0), (before.Version, before.Running!.BatchesTracked));
        Assert.Equal([0, 0], before.Running.Mean);
    }

    [Fact]
    public void A_biased_layer_moves_by_the_biased_variance()
    {
        var after = LayerState.Create(Options with { Momentum = 0.25, UnbiasedRunningVar = false }).Advance(Batch());
        Assert.Equal([1.5, 2.25], after.Running!.Variance); // 0.75·1 + 0.25·12/4
    }

    [Fact]
    public void A_layer_without_running_statistics_remembers_its_last_batch_alone()
    {
        var after = LayerState.Create(Options with { TrackRunningStats = false }).Advance(Batch());
        Assert.Null(after.Running);
        Assert.Equal(2, after.Version);
        Assert.NotNull(after.LastBatch);
    }

    [Fact]
    public void An_empty_batch_gives_the_same_instance_back()
    {
        var state = LayerState.Create(Options);
        Assert.Same(state, state.Advance(Moments.Empty(2)));
    }

    [Fact]
    public void A_reset_goes_back_to_the_start_and_keeps_the_parameters_unless_told_otherwise()
    {
        var trained = LayerState.Create(Options).Advance(Batch())
            .Update(new ParameterUpdate { Optimizer = Optimizer.Adam }, new ParameterGradients([1, 2], [3, 4]));
        var kept = trained.Reset(parameters: false);
        Assert.Equal(trained.Version + 1, kept.Version);
        Assert.True(kept.Running!.IsInitial);
        Assert.Equal([1, 1], kept.Running.Variance);
        Assert.Null(kept.LastBatch);
        Assert.Same(trained.Gamma, kept.Gamma);
        Assert.Same(trained.Beta, kept.Beta);
        Assert.Same(trained.Optimizer, kept.Optimizer);

        var cleared = trained.Reset(parameters: true);
        Assert.Equal([1, 1], cleared.Gamma!);
        Assert.Equal([0, 0], cleared.Beta!);
        Assert.Null(cleared.Optimizer);
    }

    [Fact]
    public void Parameters_and_running_statistics_can_be_set_one_by_one()
    {
        var state = LayerState.Create(Options);
        var gamma = state.WithParameters([5, 6], null);
        Assert.Equal([5, 6], gamma.Gamma!);
        Assert.Equal([0, 0], gamma.Beta!);
        Assert.Equal(2, gamma.Version);
        var variance = gamma.WithRunningStatistics(null, [7, 0], null);
        Assert.Equal([0, 0], variance.Running!.Mean);
        Assert.Equal([7, 0], variance.Running.Variance);
        Assert.False(variance.Running.IsInitial);
        Assert.Equal(9, variance.WithRunningStatistics(null, null, 9).Running!.BatchesTracked);
        Assert.Same(state, state.WithParameters(null, null));
        Assert.Same(state, state.WithRunningStatistics(null, null, null));
    }

    [Fact]
    public void The_cumulative_average_goes_on_from_a_count_that_was_set()
    {
        var state = LayerState.Create(Options with { Momentum = null }).WithRunningStatistics([1, 1], [2, 2], 3);
        Assert.Equal([1.5, 0], state.Advance(Batch()).Running!.Mean); // (3·1 + 3)/4, (3·1 − 3)/4
    }

    [Fact]
    public void Options_can_change_and_the_same_options_change_nothing()
    {
        var state = LayerState.Create(Options);
        Assert.Same(state, state.WithOptions(Options with { }));
        var changed = state.WithOptions(Options with { Momentum = 0.5 });
        Assert.Equal((2, 0.5), (changed.Version, changed.Options.Momentum));
    }

    [Fact]
    public void Per_activation_the_first_batch_fixes_the_number_of_statistics()
    {
        var options = Options with { Granularity = Granularity.PerActivation };
        var state = LayerState.Create(options);
        Assert.False(state.FeaturesAreFixed);
        var plan = Layout.Of(new Shape(4, 2, 3), options);
        var sized = state.SizedFor(plan);
        Assert.Equal((6, true, 1), (sized.Features, sized.FeaturesAreFixed, sized.Version));
        Assert.Equal((6, 6, 6, 6), (sized.Gamma!.Length, sized.Beta!.Length, sized.Running!.Mean.Length, sized.Running.Variance.Length));
        Assert.Same(sized, sized.SizedFor(plan));
        AssertRefused(LayerError.ShapeMismatch, "x: expected 6 activations per sample, as the layer has statistics for, got 8",
            () => sized.SizedFor(Layout.Of(new Shape(4, 2, 4), options)));
        // A batch without positions says nothing about how many there are.
        Assert.False(state.SizedFor(Layout.Of(new Shape(4, 2, 0), options)).FeaturesAreFixed);
        Assert.True(state.SizedFor(Layout.Of(new Shape(4, 2), options)).FeaturesAreFixed);
    }

    [Fact]
    public void Per_activation_values_from_outside_fix_the_number_of_statistics_too()
    {
        var state = LayerState.Create(Options with { Granularity = Granularity.PerActivation });
        Assert.Equal(4, state.WithParameters([1, 2, 3, 4], null).Running!.Mean.Length);
        Assert.Equal(6, state.WithRunningStatistics(null, [1, 2, 3, 4, 5, 6], null).Gamma!.Length);
        AssertRefused(LayerError.ShapeMismatch, "gamma must have 2 values, one per statistic, got 3",
            () => state.WithParameters([1, 2, 3], null));
        AssertRefused(LayerError.ShapeMismatch, "beta must have 4 values, one per statistic, got 2",
            () => state.WithParameters([1, 2, 3, 4], [1, 2]));
    }

    [Fact]
    public void What_a_layer_cannot_take_is_refused_by_name()
    {
        var state = LayerState.Create(Options);
        AssertRefused(LayerError.ShapeMismatch, "gamma must have 2 values, one per statistic, got 3",
            () => state.WithParameters([1, 2, 3], null));
        AssertRefused(LayerError.InvalidOption, "beta[1] must be a finite number, got NaN",
            () => state.WithParameters(null, [1, double.NaN]));
        AssertRefused(LayerError.ShapeMismatch, "running_mean must have 2 values, one per statistic, got 1",
            () => state.WithRunningStatistics([1], null, null));
        AssertRefused(LayerError.InvalidOption, "running_mean[0] must be a finite number, got Infinity",
            () => state.WithRunningStatistics([double.PositiveInfinity, 0], null, null));
        AssertRefused(LayerError.InvalidOption, "running_var[1] must be 0 or more, got -0.5",
            () => state.WithRunningStatistics(null, [1, -0.5], null));
        AssertRefused(LayerError.InvalidOption, "num_batches_tracked must be 0 or more, got -1",
            () => state.WithRunningStatistics(null, null, -1));
        AssertRefused(LayerError.InvalidOption, "beta was sent, but the session has none (its bias is false)",
            () => LayerState.Create(Options with { Bias = false }).WithParameters(null, [1, 1]));
        AssertRefused(LayerError.InvalidOption, "running statistics need a session with track_running_stats true",
            () => LayerState.Create(Options with { TrackRunningStats = false }).WithRunningStatistics([1, 1], null, null));
    }

    private static void AssertRefused(LayerError error, string message, Func<object> action)
    {
        var refusal = Assert.Throws<LayerException>(action);
        Assert.Equal((error, message), (refusal.Error, refusal.Message));
    }
}
