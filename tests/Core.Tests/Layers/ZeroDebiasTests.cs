using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Tests.Layers;

/// <summary>A moving average that is divided by the weight of the batches in it, against weights that are written out.</summary>
public sealed class ZeroDebiasTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 1, ZeroDebias = true };

    /// <summary>The mean of batches with the weights α·(1 − α)^age, divided by their sum.</summary>
    [Theory]
    [InlineData(0.001)]
    [InlineData(0.1)]
    [InlineData(0.9)]
    [InlineData(1.0)]
    [InlineData(1e-12)]
    public void Nothing_of_the_initial_values_is_in_it(double momentum)
    {
        var layer = LayerState.Create(Options with { Momentum = momentum });
        Assert.Equal((1, false), (Of(layer).InitialWeight, Of(layer).IsSettled));
        for (var t = 1; t <= 20; t++)
        {
            layer = layer.Advance(Batch(10 + t));
            var weights = Enumerable.Range(1, t).Select(i => momentum * Math.Pow(1 - momentum, t - i)).ToArray();
            var mean = weights.Select((weight, i) => weight * (11 + i)).Sum() / weights.Sum();
            Assert.Equal(mean, layer.Running!.Mean[0], 1e-12 * 30);
            Assert.Equal(weights.Select((weight, i) => weight * (11 + i) / 3).Sum() / weights.Sum(), layer.Running.Variance[0], 1e-12 * 10); // M2/(4 − 1)
            Assert.Equal(weights.Sum(), layer.Running.Weight!.Value, 1e-12 * weights.Sum());
            // How many batches it rests on: (Σw)²/Σw².
            var expected = momentum is 1 ? 1 : weights.Sum() * weights.Sum() / weights.Sum(weight => weight * weight);
            Assert.Equal(expected, Of(layer).EffectiveBatches, 1e-9 * expected);
            Assert.Equal((0, true), (Of(layer).InitialWeight, Of(layer).IsSettled));
        }
    }

    [Fact]
    public void With_the_average_over_all_batches_it_changes_nothing()
    {
        var (debiased, plain) = (LayerState.Create(Options with { Momentum = null }), LayerState.Create(Options with { Momentum = null, ZeroDebias = false }));
        for (var t = 0; t < 5; t++) (debiased, plain) = (debiased.Advance(Batch(t)), plain.Advance(Batch(t)));
        Assert.Equal(plain.Running!.Mean, debiased.Running!.Mean);
        Assert.Equal(plain.Running.Variance, debiased.Running.Variance);
        Assert.Equal(Of(plain), Of(debiased));
    }

    [Fact]
    public void A_momentum_of_0_never_takes_a_batch()
    {
        var layer = LayerState.Create(Options with { Momentum = 0 }).Advance(Batch(3));
        Assert.Equal((0, 0), (layer.Running!.Mean[0], layer.Running.Weight));
    }

    /// <summary>Each batch keeps the weight that it had when it came, times what is left of it.</summary>
    [Fact]
    public void A_momentum_that_is_changed_on_the_way_leaves_a_mean_of_batches()
    {
        var layer = LayerState.Create(Options with { Momentum = 0.1 }).Advance(Batch(2));
        layer = layer.WithOptions(layer.Options with { Momentum = 0.5 }).Advance(Batch(5));
        Assert.Equal(((0.05 * 2) + (0.5 * 5)) / 0.55, layer.Running!.Mean[0], 1e-14);
        // The average of all, and back: then all before have the whole weight.
        layer = layer.WithOptions(layer.Options with { Momentum = null }).Advance(Batch(8));
        layer = layer.WithOptions(layer.Options with { Momentum = 0.25 });
        var mean = layer.Running!.Mean[0];
        Assert.Equal((0.75 * mean) + (0.25 * 4), layer.Advance(Batch(4)).Running!.Mean[0], 1e-14);
    }

    [Fact]
    public void What_replaces_the_statistics_says_how_much_they_weigh()
    {
        var layer = LayerState.Create(Options with { Momentum = 0.5 }).Advance(Batch(1));
        Assert.Equal(1, layer.WithRunningStatistics([4], [2], null).Running!.Weight);
        Assert.Equal(0.875, layer.WithRunningStatistics([4], [2], 3).Running!.Weight);
        Assert.Equal(0.5, layer.WithRunningStatistics([4], null, null).Running!.Weight);
        Assert.Equal(1, layer.Accumulate(new PopulationEstimate(Batch(7), 1)).CommitPopulation().Running!.Weight);
        Assert.Equal(0, layer.Reset(parameters: false).Running!.Weight);
        Assert.Null(LayerState.Create(Options with { ZeroDebias = false }).Advance(Batch(1)).Running!.Weight);
    }

    [Fact]
    public void Renormalization_has_nothing_to_correct_towards_before_the_first_batch()
    {
        var options = Options with { Kind = NormalizerKind.BatchRenorm, Renorm = new RenormLimits(3, 5, 0) };
        var layer = LayerState.Create(options);
        var first = Renormalization.Of(Batch(50), layer.Running!, options);
        Assert.Equal((1, 0), (first.R[0], first.D[0]));
        var second = Renormalization.Of(Batch(60), layer.Advance(Batch(50)).Running!, options);
        Assert.InRange(second.D[0], 0.1, 5);
    }

    private static Convergence Of(LayerState layer) => Convergence.Of(layer.Options.Momentum, layer.Running!);

    private static Moments Batch(double value) => new(4, [value], [0], [value]);
}
