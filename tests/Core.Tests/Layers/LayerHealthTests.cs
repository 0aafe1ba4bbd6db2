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
