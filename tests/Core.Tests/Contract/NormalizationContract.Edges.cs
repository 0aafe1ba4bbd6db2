using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    [Theory]
    [InlineData(new[] { 0, 3 }, 1, Granularity.PerChannel)]
    [InlineData(new[] { 0, 3, 5 }, 1, Granularity.PerChannel)]
    [InlineData(new[] { 4, 3, 0 }, 1, Granularity.PerChannel)]
    [InlineData(new[] { 4, 3, 7, 0 }, 1, Granularity.PerChannel)]
    [InlineData(new[] { 0, 0, 3 }, -1, Granularity.PerChannel)]
    [InlineData(new[] { 0, 3, 100_000, 100_000 }, 1, Granularity.PerChannel)]
    [InlineData(new[] { 0, 3, 5 }, 1, Granularity.PerActivation)]
    [InlineData(new[] { 4, 3, 0 }, 1, Granularity.PerActivation)]
    [InlineData(new[] { 4, 0, 3 }, -1, Granularity.PerActivation)]
    public void An_empty_batch_moves_nothing(int[] dimensions, int axis, Granularity granularity)
    {
        var options = new NormalizerOptions { NumFeatures = 3, ChannelAxis = axis, Granularity = granularity };
        var plan = Layout.Of(new Shape(dimensions), options);
        var moments = Forward.BatchMoments<float>(plan, [], Settings());
        Assert.Equal(0, moments.Count);
        Assert.True(moments.IsFinite);

        var state = LayerState.Create(options);
        Assert.Same(state, state.Advance(moments));
        var sized = state.SizedFor(plan);
        Assert.Same(sized, sized.Advance(moments));
        Assert.Equal(1, sized.Version);
        Assert.NotEqual(0, sized.Features);

        using var training = AffineMap.Of(moments, sized.Gamma, sized.Beta, options.Eps);
        using var inference = AffineMap.Of(sized.Running!, sized.Gamma, sized.Beta, options.Eps);
        Assert.Equal(0, Forward.Train<float>(plan, [], new(sized.Gamma, sized.Beta, options.Eps, Activation.None), [], Settings()).Count);
        foreach (var map in new[] { training, inference }) Forward.Apply(plan, [], map, Activation.Relu, [], Settings());
        Backward.ThroughRelu(plan, [], [], training, [], Settings());
        var gradients = Backward.Training<float>(plan, [], [], moments, sized.Gamma, options.Eps, [], Settings());
        Assert.All(gradients.DGamma.Concat(gradients.DBeta), g => Assert.Equal(0, g));
        gradients = Backward.Inference<float>(plan, [], [], sized.Running!, sized.Gamma, options.Eps, [], Settings());
        Assert.All(gradients.DGamma.Concat(gradients.DBeta), g => Assert.Equal(0, g));
    }

    // Statistics that come from outside may be any finite doubles; x is a float.
    [Theory]
    [InlineData(1e39, 1e78)]
    [InlineData(-3.5e38, 1e77)]
    [InlineData(1e300, 1e306)]
    [InlineData(3.4e38, 1e-300)]
    [InlineData(0, 1e-300)]
    [InlineData(1e-300, 0)]
    [InlineData(0.1, 1e300)]
    [InlineData(1e31, 1e62)]
    [InlineData(3e38, 1e70)]
    [InlineData(-16777217.3, 0.01)]
    public void Any_running_statistics_give_the_output_and_gradients_of_exact_arithmetic(double mean, double variance)
    {
        var running = new RunningStatistics([0.5, mean, -2], [1, variance, 3], 7, isInitial: false);
        foreach (var columns in new[] { true, false })
        {
            var batch = HardBatches.Of(columns, 70, 1e-5, (place, random) => place switch
            {
                0 => (float)Math.Clamp(mean, -float.MaxValue, float.MaxValue),
                1 => 0,
                2 => float.MaxValue,
                3 => -3e38f,
                4 => float.Epsilon,
                _ => Math.Clamp(mean + (Math.Sqrt(variance) * random.NextGaussian()), -float.MaxValue, float.MaxValue),
            });
            using var map = AffineMap.Of(running, batch.Gamma, batch.Beta, batch.Eps);
            ExactStatistic[] statistics = [.. running.Mean.Zip(running.Variance, ExactStatistic.Of)];
            AssertOutput(new ExactOutput(batch.X, batch.Members, statistics, batch.Gamma, batch.Beta, batch.Eps),
                Output(batch, map, Activation.None));

            var dx = new float[batch.X.Length];
            var gradients = Backward.Inference(batch.Plan, batch.X, batch.Dy, running, batch.Gamma, batch.Eps, dx, Settings());
            var expected = batch.Reference.InferenceGradients(
                BatchCase.Widened(batch.X), BatchCase.Widened(batch.Dy), running.Mean, running.Variance, batch.Gamma, batch.Eps);
            for (var s = 0; s < 3; s++)
                AssertWithin(GradientTolerance * Math.Abs(expected.DGamma[s]), expected.DGamma[s], gradients.DGamma[s], $"dγ[{s}]");
            // A dx below float's normal range is as near as float gets.
            for (var i = 0; i < dx.Length; i++)
                AssertWithin((GradientTolerance * Math.Abs(expected.Dx[i])) + 1e-45, expected.Dx[i], dx[i], $"dx[{i}]");
        }
    }

    [Fact]
    public void Parameters_out_of_floats_range_give_the_output_of_exact_arithmetic()
    {
        foreach (var columns in new[] { true, false })
        {
            var pairs = new[] { (1e-42, 0.0), (1e-60, 1e-41), (1e38, -1e38), (1e300, 0), (0, 1e39), (0, 0), (-1e45, 1e45) };
            foreach (var (gamma, beta) in pairs)
            {
                var batch = HardBatches.Of(columns, 70, 1e-5, (_, random) => random.NextGaussian());
                double[] gammas = [1, gamma, 2], betas = [1, beta, -1];
                using var map = AffineMap.Of(MomentsOf(batch), gammas, betas, batch.Eps);
                AssertOutput(new ExactOutput(batch.X, batch.Members, batch.Statistics, gammas, betas, batch.Eps),
                    Output(batch, map, Activation.None));
            }
        }
    }
}
