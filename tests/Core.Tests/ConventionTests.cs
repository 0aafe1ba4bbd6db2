using BnService.Core.Normalizers;

namespace BnService.Core.Tests;

/// <summary>The frameworks' conventions, their numbers written out by hand.</summary>
public sealed class ConventionTests
{
    private static readonly NormalizerOptions Options = new() { NumFeatures = 2 };

    /// <summary>Every default of every pair, as the frameworks' documents have it; the source is named by row.</summary>
    [Theory]
    // torch.nn.BatchNorm*: eps 1e-05, momentum 0.1, affine True; "running_var … calculated via the unbiased estimator".
    [InlineData(Framework.Pytorch, NormalizerKind.BatchNorm, 0.1, 1e-5, true, 1, true)]
    [InlineData(Framework.Pytorch, NormalizerKind.BatchRenorm, 0.1, 1e-5, true, 1, true)] // has none: as its BatchNorm
    // torch.nn.LayerNorm(normalized_shape, eps=1e-05, elementwise_affine=True, bias=True)
    [InlineData(Framework.Pytorch, NormalizerKind.LayerNorm, null, 1e-5, null, null, true)]
    // torch.nn.GroupNorm(num_groups, num_channels, eps=1e-05, affine=True)
    [InlineData(Framework.Pytorch, NormalizerKind.GroupNorm, null, 1e-5, null, 1, true)]
    // torch.nn.InstanceNorm*(num_features, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)
    [InlineData(Framework.Pytorch, NormalizerKind.InstanceNorm, 0.1, 1e-5, true, 1, false)]
    // torch.nn.RMSNorm(normalized_shape, eps=None, elementwise_affine=True): None is torch.finfo(dtype).eps, float32's here.
    [InlineData(Framework.Pytorch, NormalizerKind.RmsNorm, null, 1.1920928955078125e-7, null, null, true)]
    // keras.layers.BatchNormalization(axis=-1, momentum=0.99, epsilon=0.001, center=True, scale=True), Keras 2 and 3
    [InlineData(Framework.Keras, NormalizerKind.BatchNorm, 0.01, 1e-3, false, -1, true)]
    // tf.compat.v1.keras.layers.BatchNormalization(axis=-1, momentum=0.99, epsilon=0.001, renorm=True, renorm_momentum=0.99)
    [InlineData(Framework.Keras, NormalizerKind.BatchRenorm, 0.01, 1e-3, false, -1, true)]
    // keras.layers.LayerNormalization(axis=-1, epsilon=0.001, center=True, scale=True)
    [InlineData(Framework.Keras, NormalizerKind.LayerNorm, null, 1e-3, null, null, true)]
    // keras.layers.GroupNormalization(groups=32, axis=-1, epsilon=0.001, center=True, scale=True)
    [InlineData(Framework.Keras, NormalizerKind.GroupNorm, null, 1e-3, null, -1, true)]
    // keras.layers.GroupNormalization(groups=-1): "this operation becomes identical to Instance Normalization"
    [InlineData(Framework.Keras, NormalizerKind.InstanceNorm, 0.01, 1e-3, false, -1, true)]
    // keras.layers.RMSNormalization(axis=-1, epsilon=1e-06), Keras 3
    [InlineData(Framework.Keras, NormalizerKind.RmsNorm, null, 1e-6, null, null, true)]
    // flax.linen.BatchNorm(axis=-1, momentum=0.99, epsilon=1e-05, use_bias=True, use_scale=True)
    [InlineData(Framework.Flax, NormalizerKind.BatchNorm, 0.01, 1e-5, false, -1, true)]
    [InlineData(Framework.Flax, NormalizerKind.BatchRenorm, 0.01, 1e-5, false, -1, true)] // has none: as its BatchNorm
    // flax.linen.LayerNorm(epsilon=1e-06, use_bias=True, use_scale=True, reduction_axes=-1, feature_axes=-1)
    [InlineData(Framework.Flax, NormalizerKind.LayerNorm, null, 1e-6, null, null, true)]
    // flax.linen.GroupNorm(num_groups=32, epsilon=1e-06, use_bias=True, use_scale=True), features on the last axis
    [InlineData(Framework.Flax, NormalizerKind.GroupNorm, null, 1e-6, null, -1, true)]
    // flax.linen.InstanceNorm(epsilon=1e-06, use_bias=True, use_scale=True, feature_axes=-1)
    [InlineData(Framework.Flax, NormalizerKind.InstanceNorm, 0.01, 1e-6, false, -1, true)]
    // flax.linen.RMSNorm(epsilon=1e-06, use_scale=True, reduction_axes=-1, feature_axes=-1)
    [InlineData(Framework.Flax, NormalizerKind.RmsNorm, null, 1e-6, null, null, true)]
    // ONNX BatchNormalization-15: epsilon 1e-05, momentum 0.9; "the population variance" is the biased one; scale and B are inputs.
    [InlineData(Framework.Onnx, NormalizerKind.BatchNorm, 0.1, 1e-5, false, 1, true)]
    [InlineData(Framework.Onnx, NormalizerKind.BatchRenorm, 0.1, 1e-5, false, 1, true)] // has none: as its BatchNormalization
    // ONNX LayerNormalization-17: axis -1, epsilon 1e-05
    [InlineData(Framework.Onnx, NormalizerKind.LayerNorm, null, 1e-5, null, null, true)]
    // ONNX GroupNormalization-21: epsilon 1e-05, x of (N, C, D1, …)
    [InlineData(Framework.Onnx, NormalizerKind.GroupNorm, null, 1e-5, null, 1, true)]
    // ONNX InstanceNormalization-6: epsilon 1e-05, x of (N, C, H, W)
    [InlineData(Framework.Onnx, NormalizerKind.InstanceNorm, 0.1, 1e-5, false, 1, true)]
    // ONNX RMSNormalization-23: axis -1, epsilon 1e-05
    [InlineData(Framework.Onnx, NormalizerKind.RmsNorm, null, 1e-5, null, null, true)]
    // caffe.proto BatchNormParameter: moving_average_fraction .999, eps 1e-5; variance times m/(m − 1); gamma and beta are a ScaleLayer's; batch_norm_layer.cpp divides by blobs_[2].
    [InlineData(Framework.Caffe, NormalizerKind.BatchNorm, 0.001, 1e-5, true, 1, false)]
    [InlineData(Framework.Caffe, NormalizerKind.BatchRenorm, 0.001, 1e-5, true, 1, false)] // has none: as its BatchNorm
    [InlineData(Framework.Caffe, NormalizerKind.LayerNorm, null, 1e-5, null, null, true)] // has none
    [InlineData(Framework.Caffe, NormalizerKind.GroupNorm, null, 1e-5, null, 1, true)] // has none
    // caffe.proto MVNParameter: eps 1e-9, across_channels false; no parameters
    [InlineData(Framework.Caffe, NormalizerKind.InstanceNorm, 0.001, 1e-9, true, 1, false)]
    [InlineData(Framework.Caffe, NormalizerKind.RmsNorm, null, 1e-5, null, null, true)] // has none
    // Ioffe & Szegedy 2015, algorithm 2: the average over training mini-batches, Var = m/(m − 1)·E[σ²]; ε has no number.
    [InlineData(Framework.Paper, NormalizerKind.BatchNorm, null, 1e-5, true, 1, true)]
    // Ioffe 2017, algorithm 1 and section 4: σ of the biased variance, moving averages with α = 0.01.
    [InlineData(Framework.Paper, NormalizerKind.BatchRenorm, 0.01, 1e-5, false, 1, true)]
    [InlineData(Framework.Paper, NormalizerKind.LayerNorm, null, 1e-5, null, null, true)] // Ba et al. 2016: ε has no number
    [InlineData(Framework.Paper, NormalizerKind.GroupNorm, null, 1e-5, null, 1, true)] // Wu & He 2018, figure 3: eps=1e-5
    [InlineData(Framework.Paper, NormalizerKind.InstanceNorm, null, 1e-5, true, 1, true)] // Ulyanov et al. 2016: ε has no number
    [InlineData(Framework.Paper, NormalizerKind.RmsNorm, null, 1e-5, null, null, true)] // Zhang & Sennrich 2019: no ε
    public void Defaults_are_those_of_the_kind_and_the_framework(
        Framework framework, NormalizerKind kind, double? momentum, double eps, bool? isUnbiased, int? axis, bool isAffine)
    {
        var options = Options with { Kind = kind, Momentum = 0.5, Eps = 0.25, TrackRunningStats = kind.CanTrack };
        var convention = new AppliedConvention { Framework = framework, IsOverBatch = kind.IsOverBatch, CanTrack = kind.CanTrack, Kind = kind };
        Assert.Equal(options with
        {
            Momentum = kind.CanTrack ? momentum : 0.5,
            Eps = eps,
            UnbiasedRunningVar = isUnbiased ?? true,
            ChannelAxis = axis ?? 1,
            Affine = isAffine,
            ZeroDebias = framework == Framework.Caffe && kind.CanTrack,
        }, convention.Adopt(options));
        // What is not the contract's default is told.
        string?[] converted =
        [
            kind.CanTrack && momentum != 0.1 ? "momentum" : null, eps != 1e-5 ? "eps" : null, isUnbiased == false ? "unbiased_running_var" : null,
            axis == -1 ? "channel_axis" : null, isAffine ? null : "affine",
            framework == Framework.Caffe && kind.CanTrack ? "zero_debias" : null,
        ];
        Assert.Equal(converted.OfType<string>().Order(), convention.Converted().Select(option => option.Option)
            .Except(kind.CanTrack && momentum == 0.1 ? ["momentum"] : Array.Empty<string>()).Order());
    }

    /// <summary>torch.nn.RMSNorm in float64: torch.finfo(torch.float64).eps.</summary>
    [Fact]
    public void The_machine_epsilon_is_that_of_what_is_computed_in()
    {
        var convention = new AppliedConvention { Framework = Framework.Pytorch, IsOverBatch = false, CanTrack = false, Kind = NormalizerKind.RmsNorm };
        Assert.Equal(2.220446049250313e-16, (convention with { IsDouble = true }).Adopt(Options).Eps);
        Assert.Equal(1.1920928955078125e-7, convention.Adopt(Options).Eps);
    }

    /// <summary>A service before this one knew two defaults of eps for a framework; what it has stored goes on saying what it did.</summary>
    [Fact]
    public void A_convention_that_was_stored_without_its_kind_says_what_it_said()
    {
        var keras = new AppliedConvention { Framework = Framework.Keras, IsOverBatch = false, CanTrack = false };
        Assert.Equal(("eps", (object)1e-3), (keras.Converted().Single().Option, keras.Converted().Single().Stored));
        Assert.Empty(new AppliedConvention { Framework = Framework.Pytorch, IsOverBatch = false, CanTrack = true }.Converted());
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
        Assert.Equal(stored, Convention.Of(framework, NormalizerKind.BatchNorm).NewWeight(sent));

    [Theory]
    [InlineData(Framework.Keras, 1.5)]
    [InlineData(Framework.Pytorch, -0.1)]
    [InlineData(Framework.Onnx, double.NaN)]
    [InlineData(Framework.Caffe, double.PositiveInfinity)]
    public void A_momentum_that_is_none_is_refused(Framework framework, double sent) =>
        Assert.Contains("momentum must be a number from 0 to 1",
            Assert.Throws<LayerException>(() => Convention.Of(framework, NormalizerKind.BatchNorm).NewWeight(sent)).Message, StringComparison.Ordinal);

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
