using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Tests.Layers;

/// <summary>What is found in a layer, and what is not.</summary>
public sealed class DiagnosisTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 3 };

    // Mean and biased variance of each channel, over 16 values.
    private static Moments Batch(double mean = 0, double variance = 1, long count = 16) =>
        new(count, [mean, 0, 0], [0, 0, 0], [variance * count, count, count]);

    private static LastBatch Sample(double mean, double variance = 1) => new([mean, 0, 0], [variance, 1, 1], 16);

    private static LayerState Settled(NormalizerOptions? options = null, int batches = 60)
    {
        var state = LayerState.Create((options ?? Options) with { UnbiasedRunningVar = false });
        for (var i = 0; i < batches; i++) state = state.Advance(Batch());
        return state;
    }

    private static string[] Codes(LayerState layer, LastBatch? inference = null, LastBatch? frozen = null) =>
        [.. Diagnosis.Of(layer, inference, frozen).Findings.Select(finding => finding.Code).Order(StringComparer.Ordinal)];

    private static Finding Find(LayerState layer, string code, LastBatch? inference = null) =>
        Diagnosis.Of(layer, inference, null).Findings.Single(finding => finding.Code == code);

    [Fact]
    public void In_a_healthy_layer_nothing_is_found()
    {
        Assert.Empty(Codes(Settled()));
        Assert.Empty(Codes(Settled(), Sample(0.1), null));
        Assert.Empty(Diagnosis.OfStep(Settled(), Sample(0), usedBatch: true));
    }

    [Fact]
    public void A_new_layer_has_not_settled_and_says_how_far_it_is()
    {
        Assert.Equal(["not-settled"], Codes(LayerState.Create(Options)));
        Assert.Contains("no batch has moved", Find(LayerState.Create(Options), "not-settled").Detail, StringComparison.Ordinal);
        var finding = Find(Settled(batches: 10), "not-settled");
        Assert.Equal((Math.Pow(0.9, 10), 10, 34), (finding.Numbers["initial_weight"], finding.Numbers["num_batches_tracked"], finding.Numbers["batches_to_settle"]));
        Assert.Contains("35 %", finding.Detail, StringComparison.Ordinal);
        Assert.Contains("momentum 0 never moves", Find(Settled(Options with { Momentum = 0 }), "not-settled").Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Statistics_of_a_calibration_have_settled_however_few_batches_there_were()
    {
        var committed = LayerState.Create(Options).Accumulate(new PopulationEstimate(Batch(), 1)).CommitPopulation();
        Assert.Empty(Codes(committed));
        Assert.Equal(0, Diagnosis.Of(committed, null, null).Convergence!.InitialWeight);
    }

    [Fact]
    public void The_noise_is_that_of_the_channel_where_it_is_largest()
    {
        var diagnosis = Diagnosis.Of(Settled().WithRunningStatistics(null, [1, 9, 4], 60), null, null);
        Assert.Equal((1, 0.75), (diagnosis.BatchMeanNoise!.Channel, diagnosis.BatchMeanNoise.Value)); // √9/√16
        Assert.Equal(0.75 * Math.Sqrt(0.1 / 1.9), diagnosis.MeanNoise!.Value, 1e-15);
        Assert.Equal(1, diagnosis.MeanNoise.Channel);
    }

    [Fact]
    public void Drift_counts_once_the_running_statistics_have_settled()
    {
        Assert.DoesNotContain("drift", Codes(Settled(batches: 10).Advance(Batch(mean: 20))));
        var drifted = Settled().Advance(Batch(mean: 20));
        Assert.Equal(["drift"], Codes(drifted).Where(code => code == "drift"));
        // The running mean has moved by 2 to 18 less; the variance is as before, and the initial values are all but gone.
        var expected = 0.5 * 18 * 18;
        var finding = Find(drifted, "drift");
        Assert.Equal(expected, finding.Numbers["kl_divergence"], 0.01 * expected);
        Assert.Equal([0], finding.Channels!);
        Assert.Equal(["drift"], Diagnosis.OfStep(drifted, drifted.LastBatch, usedBatch: true).Select(f => f.Code));
        Assert.Empty(Diagnosis.OfStep(Settled(batches: 10).Advance(Batch(mean: 20)), Sample(20), usedBatch: true));
    }

    /// <summary>A large batch makes any difference unlikely, as those of 0.09 to 0.15 nats of a network that is well.</summary>
    [Theory]
    [InlineData(0.42, 1)] // 0.088 nats
    [InlineData(-0.55, 1)] // 0.151
    [InlineData(0, 1.75)] // 0.095
    [InlineData(0.3, 0.6)] // 0.100
    public void A_difference_too_small_to_matter_is_no_drift_however_many_values_there_are(double mean, double variance)
    {
        foreach (var count in (long[])[32, 1000, 1L << 40])
        {
            var batch = new LastBatch([mean, 0, 0], [variance, 1, 1], count);
            Assert.Empty(Codes(Settled(), batch));
            Assert.False(Diagnosis.Of(Settled(), batch, null).InferenceDrift!.IsRelevant);
            Assert.Empty(Diagnosis.OfStep(Settled(), batch, usedBatch: true));
            var frozen = Settled(Options with { Mode = NormalizationMode.Train }).WithOptions(Options with { Mode = NormalizationMode.Frozen });
            Assert.Empty(Codes(frozen, null, batch));
            Assert.Empty(Diagnosis.OfStep(frozen, batch, usedBatch: false));
        }
    }

    /// <summary>A shift by one standard deviation, doubled and halved values, other units.</summary>
    [Theory]
    [InlineData(1, 1)]
    [InlineData(0, 4)]
    [InlineData(0, 0.25)]
    [InlineData(0, 1e6)]
    [InlineData(-3, 1e-6)]
    public void What_matters_is_drift_at_every_size_of_a_batch_that_can_tell(double mean, double variance)
    {
        foreach (var count in (long[])[32, 256, 100_000, 1L << 40])
        {
            var batch = new LastBatch([mean, 0, 0], [variance, 1, 1], count);
            Assert.Equal(["inference-drift", "train-serve-skew"], Codes(Settled(), batch));
            Assert.Equal(["drift"], Diagnosis.OfStep(Settled(), batch, usedBatch: true).Select(finding => finding.Code));
        }
        // Of two values nobody could say.
        Assert.Empty(Codes(Settled(), new LastBatch([1, 0, 0], [1, 1, 1], 2)));
    }

    /// <summary>One picture differs from the mean of all by a standard deviation as a matter of course; by ten of them it does not.</summary>
    [Theory]
    [InlineData(1, 1.0, false)]
    [InlineData(4, 1.0, false)]
    [InlineData(32, 1.0, true)]
    [InlineData(1, 10.0, true)]
    public void Positions_of_one_sample_count_as_one_value(long samples, double mean, bool isDrift)
    {
        var batch = new LastBatch([mean, 0, 0], [1, 1, 1], 196 * samples) { Samples = samples };
        Assert.Equal(isDrift ? ["inference-drift", "train-serve-skew"] : [], Codes(Settled(), batch));
        Assert.Equal(isDrift ? ["drift"] : [], Diagnosis.OfStep(Settled(), batch, usedBatch: true).Select(finding => finding.Code));
        var frozen = Settled(Options with { Mode = NormalizationMode.Train }).WithOptions(Options with { Mode = NormalizationMode.Frozen });
        Assert.Equal(isDrift ? ["frozen-mean-mismatch"] : [], Codes(frozen, null, batch));
    }

    [Fact]
    public void A_finding_of_drift_says_how_much_before_how_unlikely()
    {
        var finding = Find(Settled().WithRunningStatistics([1, 0, 0], [4, 1, 1], 60), "inference-drift", new LastBatch([-2, 0, 0], [1, 1, 1], 64));
        Assert.StartsWith("in the last inference batch, the mean of channel 0 is 1.5 running standard deviations below the running mean, "
            + "and its standard deviation is 0.5 times the running one", finding.Detail, StringComparison.Ordinal);
        Assert.Equal(["channels", "mean_shift", "deviation_ratio", "kl_divergence", "p_value", "count"], finding.Numbers.Keys);
        Assert.Equal((-1.5, 0.5), (finding.Numbers["mean_shift"], finding.Numbers["deviation_ratio"]));
    }

    [Fact]
    public void Inference_that_lies_elsewhere_than_training_is_skew()
    {
        var layer = Settled();
        Assert.Equal(["inference-drift", "train-serve-skew"], Codes(layer, Sample(3)));
        var diagnosis = Diagnosis.Of(layer, Sample(3), null);
        Assert.Equal(diagnosis.InferenceDrift!.Divergence - diagnosis.TrainDrift!.Divergence, diagnosis.Skew!.Difference, 1e-15);
        Assert.Equal(0, diagnosis.Skew.Channel!.Channel);
        Assert.Null(Diagnosis.Of(layer, null, null).Skew);
        Assert.Equal(["not-settled"], Codes(Settled(batches: 10), Sample(3)));
        // Where training has drifted as far, serving is not to blame.
        var drifted = layer.Advance(Batch(mean: 3));
        Assert.Equal(["drift", "inference-drift"], Codes(drifted, Sample(3)).Where(code => code.Contains("drift") || code.Contains("skew")));
    }

    [Fact]
    public void A_sample_of_another_size_is_left_alone()
    {
        var other = new LastBatch([9], [1], 16);
        Assert.Empty(Codes(Settled(), other, other));
        Assert.Null(Diagnosis.Of(Settled(), other, null).InferenceDrift);
        Assert.Empty(Diagnosis.OfStep(Settled(Options with { Mode = NormalizationMode.Frozen }), other, usedBatch: false));
    }

    [Fact]
    public void The_running_statistics_may_lie_far_from_all_that_was_seen()
    {
        var layer = Settled();
        Assert.InRange(Diagnosis.Of(layer, null, null).Gap!.Mean!.Value, 0, 0.001);
        var moved = layer.WithRunningStatistics([0.5, 0, 0], [1, 1, 3], 60);
        var finding = Find(moved, "estimate-gap");
        Assert.Equal((0.5, 2), (finding.Numbers["mean_gap"], finding.Numbers["variance_gap"]));
        Assert.Equal([0, 2], finding.Channels!);
        Assert.Equal(16 * 60, finding.Numbers["seen_count"]);
        // What its noise explains is no finding: 5·√(0.1/1.9)/√16 is 0.29.
        Assert.DoesNotContain("estimate-gap", Codes(layer.WithRunningStatistics([0.25, 0, 0], [1, 1, 1], 60)));
    }

    [Theory]
    [InlineData(0.5, 0.5)]
    [InlineData(0.99, 0.01)]
    [InlineData(0.999, 0.001)]
    [InlineData(1.0, 0.1)]
    public void A_large_momentum_is_likely_of_another_convention(double momentum, double suggested)
    {
        var finding = Find(Settled(Options with { Momentum = momentum }), "momentum-convention");
        Assert.Equal((momentum, suggested), (finding.Numbers["momentum"], finding.Numbers["suggested"]));
        Assert.Null(finding.Channels);
    }

    [Theory]
    [InlineData(0.49)]
    [InlineData(null)]
    public void Another_momentum_is_not(double? momentum) =>
        Assert.DoesNotContain("momentum-convention", Codes(Settled(Options with { Momentum = momentum })));

    [Fact]
    public void Channels_that_do_nothing_are_named()
    {
        var layer = Settled().WithParameters([1, 0, -1e-7], null).WithRunningStatistics(null, [0, 1, 1], 60);
        Assert.Equal([1, 2], Find(layer, "dead-channels").Channels!);
        Assert.Equal(2, Find(layer, "dead-channels").Numbers["channels"]);
        Assert.Equal([0], Find(layer, "zero-running-variance").Channels!);
        Assert.Equal([0], Find(Settled().Advance(Batch(variance: 0)), "constant-channels").Channels!);
        var many = LayerState.Create(Options with { NumFeatures = 100 }).WithParameters(new double[100], null);
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7], Find(many, "dead-channels").Channels!);
        Assert.Equal(100, Find(many, "dead-channels").Numbers["channels"]);
    }

    [Theory]
    [InlineData(7, true)]
    [InlineData(8, false)]
    public void Batches_below_8_values_are_small(long count, bool isSmall)
    {
        var layer = Settled().Advance(Batch(count: count));
        Assert.Equal(isSmall, Codes(layer).Contains("small-batch"));
        Assert.Equal(isSmall, Diagnosis.OfStep(layer, layer.LastBatch, usedBatch: true).Any(finding => finding.Code == "small-batch"));
        if (!isSmall) return;
        Assert.Equal(Math.Sqrt(12) / 7, Find(layer, "small-batch").Numbers["relative_sd_of_var"], 1e-15);
        Assert.Contains("group_norm", Find(layer, "small-batch").Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void A_running_mean_of_few_values_is_noisy()
    {
        Assert.Contains("noisy-running-mean", Codes(Settled(Options with { Momentum = 0.4 }))); // √(0.4/1.6)/4 = 0.125
        Assert.DoesNotContain("noisy-running-mean", Codes(Settled(Options with { Momentum = 0.2 }))); // √(0.2/1.8)/4 = 0.083
    }

    [Fact]
    public void Frozen_statistics_of_other_data_are_a_mismatch()
    {
        var frozen = Settled(Options with { Mode = NormalizationMode.Train }).WithOptions(Options with { Mode = NormalizationMode.Frozen });
        Assert.Empty(Codes(frozen));
        Assert.Empty(Codes(frozen, null, Sample(0.5)));
        Assert.Equal(["frozen-mean-mismatch"], Codes(frozen, null, Sample(2)));
        var finding = Assert.Single(Diagnosis.OfStep(frozen, Sample(2), usedBatch: false));
        Assert.Equal(("frozen-mean-mismatch", 1), (finding.Code, finding.Numbers["channels"]));
        Assert.Equal(2 / Math.Sqrt(frozen.Running!.Variance[0]), finding.Numbers["largest_shift"], 1e-15);
        // Frozen too early: the batches that trained it say so.
        var early = LayerState.Create(Options).Advance(Batch(mean: 5)).WithOptions(Options with { Mode = NormalizationMode.Frozen });
        Assert.Contains("frozen-mean-mismatch", Codes(early));
    }

    [Fact]
    public void Poison_is_found_in_the_batch_and_in_what_it_has_left()
    {
        var layer = Settled(Options with { NonFinite = NonFinitePolicy.Propagate }).Advance(Batch(mean: double.NaN));
        Assert.Equal([0], Find(layer, "non-finite-statistics").Channels!);
        Assert.Equal(["non-finite-batch"], Diagnosis.OfStep(layer, layer.LastBatch, usedBatch: true).Select(finding => finding.Code));
        Assert.All(Diagnosis.Of(layer, null, null).Findings.SelectMany(finding => finding.Numbers.Values), number => Assert.True(double.IsFinite(number)));
    }

    [Fact]
    public void Without_running_statistics_the_last_batch_and_the_parameters_are_left_to_look_at()
    {
        var layer = LayerState.Create(Options with { TrackRunningStats = false, Momentum = 0.9, GammaInit = 0 }).Advance(Batch(count: 4));
        Assert.Equal(["dead-channels", "small-batch"], Codes(layer, Sample(9)));
        Assert.Equal(0.5, Diagnosis.Of(layer, null, null).BatchMeanNoise!.Value);
        Assert.Null(Diagnosis.Of(layer, null, null).Convergence);
        Assert.Empty(Diagnosis.OfStep(layer, null, usedBatch: false));
    }
}
