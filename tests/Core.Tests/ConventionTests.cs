using BnService.Core.Normalizers;

namespace BnService.Core.Tests;

/// <summary>The frameworks' conventions, their numbers written out by hand.</summary>
public sealed class ConventionTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 2 };

    [Theory]
    [InlineData(Framework.Pytorch, 0.1, 1e-5, true)]
    [InlineData(Framework.Keras, 0.01, 1e-3, false)]
    [InlineData(Framework.Flax, 0.01, 1e-5, false)]
    [InlineData(Framework.Onnx, 0.1, 1e-5, false)]
    [InlineData(Framework.Caffe, 0.001, 1e-5, true)]
    [InlineData(Framework.Paper, null, 1e-5, true)]
    public void Defaults_over_a_batch(Framework framework, double? momentum, double eps, bool isUnbiased)
    {
        var adopted = new AppliedConvention { Framework = framework, IsOverBatch = true, CanTrack = true }.Adopt(Options);
        Assert.Equal((momentum, eps, isUnbiased), (adopted.Momentum, adopted.Eps, adopted.UnbiasedRunningVar));
    }

    [Theory]
    [InlineData(Framework.Pytorch, 1e-5)]
    [InlineData(Framework.Keras, 1e-3)]
    [InlineData(Framework.Flax, 1e-6)]
    [InlineData(Framework.Onnx, 1e-5)]
    [InlineData(Framework.Caffe, 1e-5)]
    [InlineData(Framework.Paper, 1e-5)]
    public void Within_a_sample_only_eps_is_a_matter_of_convention(Framework framework, double eps)
    {
        var adopted = new AppliedConvention { Framework = framework, IsOverBatch = false, CanTrack = false }.Adopt(Options);
        Assert.Equal(Options with { Eps = eps }, adopted);
    }

    [Theory]
    [InlineData(Framework.Keras, 0.99, 0.01)]
    [InlineData(Framework.Keras, 0.9, 0.1)]
    [InlineData(Framework.Keras, 0.7, 0.3)]
    [InlineData(Framework.Flax, 0.999, 0.001)]
    [InlineData(Framework.Caffe, 0.95, 0.05)]
    [InlineData(Framework.Onnx, 0.0, 1.0)]
    [InlineData(Framework.Onnx, 1.0, 0.0)]
    [InlineData(Framework.Keras, 1e-300, 1.0)]
    [InlineData(Framework.Keras, 0.9999999999999999, 1e-16)]
    [InlineData(Framework.Keras, null, null)]
    [InlineData(Framework.Pytorch, 0.99, 0.99)]
    [InlineData(Framework.Paper, 0.99, 0.99)]
    public void A_momentum_becomes_the_weight_of_the_new_batch_as_one_would_write_it(Framework framework, double? sent, double? stored) =>
        Assert.Equal(stored, Convention.Of(framework).NewWeight(sent));

    [Theory]
    [InlineData(Framework.Keras, 1.5)]
    [InlineData(Framework.Pytorch, -0.1)]
    [InlineData(Framework.Onnx, double.NaN)]
    [InlineData(Framework.Caffe, double.PositiveInfinity)]
    public void A_momentum_that_is_none_is_refused(Framework framework, double sent) =>
        Assert.Contains("momentum must be a number from 0 to 1", Assert.Throws<LayerException>(() => Convention.Of(framework).NewWeight(sent)).Message, StringComparison.Ordinal);

    [Fact]
    public void What_was_sent_wins_over_the_defaults()
    {
        var sent = new AppliedConvention
        {
            Framework = Framework.Keras,
            IsOverBatch = true,
            CanTrack = true,
            SendsMomentum = true,
            Momentum = 0.75,
            Eps = 1e-7,
            UnbiasedRunningVar = true,
        };
        Assert.Equal(Options with { Momentum = 0.25, Eps = 1e-7, UnbiasedRunningVar = true }, sent.Adopt(Options));
        var converted = Assert.Single(sent.Converted());
        Assert.Equal(("momentum", (object)0.75, (object)0.25), (converted.Option, converted.Sent, converted.Stored));
    }

    [Fact]
    public void Without_its_defaults_it_leaves_what_was_not_sent_but_the_kind_of_the_variance()
    {
        var options = Options with { Momentum = 0.3, Eps = 0.5 };
        var keras = new AppliedConvention { Framework = Framework.Keras, IsOverBatch = true, CanTrack = true, SetsDefaults = false };
        Assert.Equal(options with { UnbiasedRunningVar = false }, keras.Adopt(options));
        Assert.Equal("unbiased_running_var", Assert.Single(keras.Converted()).Option);
    }
}
