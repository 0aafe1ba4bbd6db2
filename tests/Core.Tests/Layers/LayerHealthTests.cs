using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Tests.Layers;

/// <summary>How a layer is, in one word.</summary>
public sealed class LayerHealthTests
{
    private static Finding Found(string code) => new(code, $"detail of {code}", "remedy", new Dictionary<string, double>());

    [Theory]
    [InlineData(Health.Healthy, "momentum-convention")]
    [InlineData(Health.Settling, "not-settled")]
    [InlineData(Health.SmallBatches, "small-batch", "not-settled")]
    [InlineData(Health.SmallBatches, "noisy-running-mean")]
    [InlineData(Health.Drifting, "drift", "small-batch")]
    [InlineData(Health.Drifting, "inference-drift")]
    [InlineData(Health.Drifting, "train-serve-skew")]
    [InlineData(Health.Drifting, "frozen-mean-mismatch")]
    [InlineData(Health.Settling, "estimate-gap")]
    [InlineData(Health.DeadChannels, "dead-channels", "drift")]
    [InlineData(Health.DeadChannels, "constant-channels", "not-settled")]
    [InlineData(Health.DeadChannels, "zero-running-variance")]
    [InlineData(Health.DeadChannels, "non-finite-statistics", "dead-channels")]
    public void The_worst_finding_is_the_health_and_its_detail_the_reason(Health expected, params string[] codes)
    {
        // In whatever order they are found.
        foreach (var order in (string[][])[codes, [.. codes.Reverse()]])
        {
            var health = LayerHealth.Of(new Diagnosis { Findings = [.. order.Select(Found)] });
            Assert.Equal(expected, health.Mark);
            if (expected != Health.Healthy) Assert.Equal($"detail of {codes[0]}", health.Reason);
        }
    }

    /// <summary>No last batch can fit where there was none.</summary>
    [Fact]
    public void A_layer_that_has_seen_no_batch_says_where_its_statistics_come_from()
    {
        var fresh = LayerState.Create(new NormalizerOptions { NumFeatures = 2 });
        Assert.Contains("no batch has moved the running statistics", Reason(fresh), StringComparison.Ordinal);
        foreach (var imported in (LayerState[])[fresh.WithRunningStatistics([1, 2], [3, 4], null), fresh.WithRunningStatistics([1, 2], [3, 4], 500)])
        {
            Assert.Equal(Health.Healthy, LayerHealth.Of(Diagnosis.Of(imported, null, null)).Mark);
            Assert.StartsWith("imported, no batch seen yet", Reason(imported), StringComparison.Ordinal);
            Assert.Contains("the last batch fits", LayerHealth.Of(Diagnosis.Of(imported, new LastBatch([1, 2], [3, 4], 64), null)).Reason, StringComparison.Ordinal);
        }
        // What comes with a number of batches that is 0 may still be the initial values.
        var untrained = fresh.WithRunningStatistics([0, 0], [1, 1], 0);
        Assert.Equal(Health.Settling, LayerHealth.Of(Diagnosis.Of(untrained, null, null)).Mark);
        Assert.StartsWith("imported, no batch seen yet", Reason(untrained), StringComparison.Ordinal);
        var calibrated = fresh.Accumulate(new PopulationEstimate(new Moments(16, [0, 0], [0, 0], [16, 16]), 1)).CommitPopulation();
        Assert.StartsWith("calibrated, no batch seen yet", Reason(calibrated), StringComparison.Ordinal);
        var trained = calibrated.Advance(new Moments(16, [0, 0], [0, 0], [16, 16]));
        Assert.Contains("the last batch fits", Reason(trained), StringComparison.Ordinal);
        Assert.Contains("no batch has moved the running statistics", Reason(trained.Reset(parameters: false)), StringComparison.Ordinal);

        static string Reason(LayerState layer) => LayerHealth.Of(Diagnosis.Of(layer, null, null)).Reason;
    }

    [Fact]
    public void A_layer_that_has_settled_is_healthy_and_a_new_one_is_settling()
    {
        var layer = LayerState.Create(new NormalizerOptions { NumFeatures = 2 });
        Assert.Equal(Health.Settling, LayerHealth.Of(Diagnosis.Of(layer, null, null)).Mark);
        for (var i = 0; i < 60; i++) layer = layer.Advance(new Moments(16, [0, 0], [0, 0], [16, 16]));
        Assert.Equal(Health.Healthy, LayerHealth.Of(Diagnosis.Of(layer, null, null)).Mark);
        Assert.Equal(Health.Drifting, LayerHealth.Of(Diagnosis.Of(layer, new LastBatch([9, 0], [1, 1], 16), null)).Mark);
    }
}
