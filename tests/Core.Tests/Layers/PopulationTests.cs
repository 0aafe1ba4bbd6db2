using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Tests.Layers;

/// <summary>The exact statistics that a layer keeps beside its moving average, and those that are gathered to replace it.</summary>
public sealed class PopulationTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 1 };

    // 1, 3 and 5, 7, 9: mean 5, squared deviations 16 + 4 + 0 + 4 + 16.
    private static readonly Moments Low = new(2, [2], [0], [2]), High = new(3, [7], [0], [8]);

    [Theory]
    [InlineData(true, 10)]
    [InlineData(false, 8)]
    public void A_commit_replaces_the_running_statistics_by_the_mean_and_the_variance_of_the_union(bool isUnbiased, double variance)
    {
        var gathered = LayerState.Create(Options with { UnbiasedRunningVar = isUnbiased }).Accumulate(new(Low, 1)).Accumulate(new(High, 2));
        Assert.Equal((3, 3), (gathered.Version, gathered.Population!.Batches));
        Assert.True(gathered.Running!.IsInitial);
        var committed = gathered.CommitPopulation();
        Assert.Equal([5], committed.Running!.Mean);
        Assert.Equal([variance], committed.Running.Variance); // 40/4, 40/5
        Assert.Equal((4, 3, false, true), (committed.Version, committed.Running.BatchesTracked, committed.Running.IsInitial, committed.Running.AreGiven));
        Assert.Null(committed.Population);
        Assert.Null(committed.Seen);
    }

    [Fact]
    public void A_single_value_is_gathered_and_not_committed()
    {
        var state = LayerState.Create(Options).Accumulate(new(new Moments(1, [4], [0], [0]), 1));
        Assert.Equal(LayerError.BatchTooSmall, Assert.Throws<LayerException>(state.CommitPopulation).Error);
        Assert.Equal([0.5], state.Accumulate(new(new Moments(1, [5], [0], [0]), 1)).CommitPopulation().Running!.Variance);
    }

    [Fact]
    public void Nothing_gathered_is_nothing_to_commit_and_nothing_to_drop()
    {
        var state = LayerState.Create(Options);
        Assert.Equal(LayerError.NoRunningStatistics, Assert.Throws<LayerException>(state.CommitPopulation).Error);
        Assert.Same(state, state.DropPopulation());
        Assert.Same(state, state.Accumulate(new(Moments.Empty(1), 1)));
        var gathered = state.Accumulate(new(Low, 1));
        Assert.Null(gathered.DropPopulation().Population);
        Assert.Equal(3, gathered.DropPopulation().Version);
    }

    [Fact]
    public void A_layer_without_running_statistics_gathers_nothing()
    {
        var state = LayerState.Create(Options with { TrackRunningStats = false });
        Assert.Equal(LayerError.InvalidOption, Assert.Throws<LayerException>(() => state.Accumulate(new(Low, 1))).Error);
        Assert.Equal(LayerError.InvalidOption, Assert.Throws<LayerException>(state.CommitPopulation).Error);
        Assert.Null(state.Advance(Low).Seen);
    }

    [Fact]
    public void Another_number_of_statistics_is_refused_and_per_activation_fixes_it()
    {
        var two = new PopulationEstimate(new Moments(2, [1, 2], [0, 0], [1, 1]), 1);
        Assert.Equal(LayerError.ShapeMismatch, Assert.Throws<LayerException>(() => LayerState.Create(Options).Accumulate(two)).Error);
        var sized = LayerState.Create(Options with { Granularity = Granularity.PerActivation }).Accumulate(two);
        Assert.Equal((2, true, 2), (sized.Features, sized.FeaturesAreFixed, sized.Version));
        Assert.Equal([1, 1], sized.Running!.Variance);
    }

    [Fact]
    public void Unions_beyond_what_the_numbers_hold_are_refused()
    {
        var state = LayerState.Create(Options).Accumulate(new(new Moments(long.MaxValue - 2, [0], [0], [0]), 1));
        Assert.Equal(long.MaxValue, state.Accumulate(new(Low, 1)).Population!.Moments.Count);
        Assert.Contains("more than 9223372036854775807 values", Assert.Throws<LayerException>(() => state.Accumulate(new(High, 1))).Message, StringComparison.Ordinal);
        var far = LayerState.Create(Options).Accumulate(new(new Moments(2, [1e200], [0], [0]), 1));
        Assert.Equal(LayerError.InvalidOption, Assert.Throws<LayerException>(() => far.Accumulate(new(Low, 1))).Error);
    }

    [Fact]
    public void All_batches_that_moved_the_statistics_are_kept_as_one_exact_union()
    {
        var trained = LayerState.Create(Options).Advance(Low).Advance(High);
        Assert.Equal((5, 2), (trained.Seen!.Count, trained.SeenBatches));
        Assert.Equal([5], trained.Seen.Mean);
        Assert.Equal(40, trained.Seen.M2[0], 1e-14);
        Assert.Same(trained.Seen, trained.WithRunningStatistics([9], [9], 9).Seen);
        Assert.Same(trained.Seen, trained.Accumulate(new(High, 1)).CommitPopulation().Seen);
        Assert.Equal((3, 1), (trained.Accumulate(new(High, 1)).Gathered!.Moments.Count, trained.Accumulate(new(High, 1)).Gathered!.Batches));
        Assert.Equal((5, 2), (trained.Gathered!.Moments.Count, trained.Gathered.Batches));
        var reset = trained.Accumulate(new(High, 1)).Reset(parameters: false);
        Assert.Null(reset.Seen);
        Assert.Null(reset.Population);
        Assert.Equal(0, reset.SeenBatches);
    }

    [Theory]
    [InlineData(double.NaN, 0)]
    [InlineData(double.PositiveInfinity, double.NaN)]
    [InlineData(1, double.PositiveInfinity)]
    public void A_batch_that_is_not_finite_moves_the_running_statistics_and_stays_out_of_the_union(double mean, double m2)
    {
        var trained = LayerState.Create(Options with { NonFinite = NonFinitePolicy.Propagate }).Advance(Low).Advance(new Moments(4, [mean], [0], [m2]));
        Assert.Equal(2, trained.Running!.BatchesTracked);
        Assert.Same(Low, trained.Seen);
        Assert.Equal(1, trained.SeenBatches);
    }

    [Fact]
    public void Statistics_are_given_where_nothing_of_the_initial_values_can_be_left()
    {
        var state = LayerState.Create(Options);
        Assert.False(state.Running!.AreGiven);
        Assert.True(state.WithRunningStatistics([1], [2], null).Running!.AreGiven);
        Assert.True(state.WithRunningStatistics([1], [2], null).Advance(Low).Running!.AreGiven);
        Assert.True(state.WithRunningStatistics([1], [2], null).WithRunningStatistics([1], null, null).Running!.AreGiven);
        Assert.False(state.WithRunningStatistics([1], null, null).Running!.AreGiven);
        Assert.False(state.WithRunningStatistics([1], [2], 3).Running!.AreGiven);
        Assert.False(state.WithRunningStatistics([1], [2], null).Reset(parameters: false).Running!.AreGiven);
    }
}
