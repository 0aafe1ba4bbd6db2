using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Core.Tests.Layers;

public sealed class LayerUpdateTests
{
    private static readonly ParameterUpdate Sgd = new() { Optimizer = Optimizer.Sgd, LearningRate = 0.1 };
    private static readonly ParameterUpdate Adam = new() { Optimizer = Optimizer.Adam, LearningRate = 0.1 };
    private static readonly ParameterGradients Gradients = new([1, 2], [3, -4]);

    private static LayerState Layer(bool bias = true) => LayerState.Create(new NormalizerOptions { NumFeatures = 2, Bias = bias });

    [Fact]
    public void An_update_moves_gamma_by_its_gradient_and_beta_by_its_own()
    {
        var before = Layer();
        var after = before.Update(Sgd, Gradients);
        Assert.Equal([0.9, 0.8], after.Gamma!);
        Assert.Equal([-0.30000000000000004, 0.4], after.Beta!);
        Assert.Equal(2, after.Version);
        Assert.Equal((Optimizer.Sgd, 1), (after.Optimizer!.Optimizer, after.Optimizer.Step));
        Assert.Equal([1, 1], before.Gamma!);
        Assert.Same(before.Running, after.Running);
    }

    [Fact]
    public void Steps_are_counted_and_buffers_kept_as_torch_does()
    {
        var (state, gamma, beta) = (Layer(), new TorchOptimizer(Adam), new TorchOptimizer(Adam));
        double[] expectedGamma = [1, 1], expectedBeta = [0, 0];
        for (var step = 1; step <= 5; step++)
        {
            var gradients = new ParameterGradients([step, -1.0 / step], [0.5, step * step]);
            state = state.Update(Adam, gradients);
            expectedGamma = gamma.Step(expectedGamma, gradients.DGamma);
            expectedBeta = beta.Step(expectedBeta, gradients.DBeta);
            Assert.Equal(step, state.Optimizer!.Step);
            for (var i = 0; i < 2; i++)
            {
                Assert.Equal(expectedGamma[i], state.Gamma![i], 1e-14);
                Assert.Equal(expectedBeta[i], state.Beta![i], 1e-14);
            }
        }
    }

    [Fact]
    public void Another_optimizer_starts_with_new_buffers()
    {
        var trained = Layer().Update(Adam, Gradients).Update(Adam, Gradients);
        var changed = trained.Update(Sgd with { Momentum = 0.9 }, Gradients);
        Assert.Equal((Optimizer.Sgd, 1), (changed.Optimizer!.Optimizer, changed.Optimizer.Step));
        Assert.Equal([1, 2], changed.Optimizer.Gamma!.First); // the gradient itself, nothing of Adam's average
        Assert.Empty(changed.Optimizer.Gamma!.Second);

        var back = changed.Update(Adam, Gradients);
        Assert.Equal(1, back.Optimizer!.Step);
        var fresh = Layer().WithParameters(changed.Gamma, changed.Beta).Update(Adam, Gradients);
        Assert.Equal(fresh.Gamma, back.Gamma);
        Assert.Equal(fresh.Beta, back.Beta);
    }

    [Fact]
    public void Momentum_that_is_switched_on_later_starts_with_the_gradient()
    {
        var momentum = Sgd with { Momentum = 0.5 };
        var state = Layer().Update(Sgd, Gradients).Update(momentum, Gradients);
        Assert.Equal([1, 2], state.Optimizer!.Gamma!.First);
        Assert.Equal([1.5, 3], state.Update(momentum, Gradients).Optimizer!.Gamma!.First);
    }

    [Fact]
    public void A_layer_without_beta_updates_gamma_alone()
    {
        var after = Layer(bias: false).Update(Adam, Gradients);
        Assert.Null(after.Beta);
        Assert.Null(after.Optimizer!.Beta);
        Assert.Equal(0.9, after.Gamma![0], 1e-8);
    }

    [Fact]
    public void A_layer_without_parameters_refuses_an_update()
    {
        var state = LayerState.Create(new NormalizerOptions { NumFeatures = 2, Affine = false });
        AssertRefused(LayerError.InvalidOption, "update needs a session with parameters, got one with affine false",
            () => state.Update(Sgd, Gradients));
    }

    [Fact]
    public void A_gradient_of_the_wrong_length_is_refused()
    {
        AssertRefused(LayerError.ShapeMismatch, "dgamma must have 2 values, one per statistic, got 3",
            () => Layer().Update(Sgd, new ParameterGradients([1, 2, 3], [1, 2, 3])));
    }

    [Fact]
    public void An_update_that_would_not_be_finite_is_refused_unless_told_to_propagate()
    {
        var poisoned = new ParameterGradients([1, double.NaN], [1, 1]);
        AssertRefused(LayerError.NonFiniteInput,
            "the update would set gamma[1] to NaN: a gradient or the learning rate is not finite or too large",
            () => Layer().Update(Sgd, poisoned));
        AssertRefused(LayerError.NonFiniteInput,
            "the update would set beta[0] to -Infinity: a gradient or the learning rate is not finite or too large",
            () => Layer().Update(Sgd with { LearningRate = 1e300 }, new ParameterGradients([1, 1], [1e300, 1])));
        var propagating = LayerState.Create(new NormalizerOptions { NumFeatures = 2, NonFinite = NonFinitePolicy.Propagate });
        Assert.Equal([0.9, double.NaN], propagating.Update(Sgd, poisoned).Gamma!);
    }

    private static void AssertRefused(LayerError error, string message, Func<object> action)
    {
        var refusal = Assert.Throws<LayerException>(action);
        Assert.Equal((error, message), (refusal.Error, refusal.Message));
    }
}
