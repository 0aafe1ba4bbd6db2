using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    /// <summary>Layouts and ε of gradients that cancel.</summary>
    public static TheoryData<bool, double> Cancellations => new() { { true, 1e-5 }, { false, 1e-5 }, { true, 1e-3 }, { false, 1e-3 } };

    [Theory]
    [MemberData(nameof(Cancellations))]
    public void A_constant_gradient_leaves_next_to_nothing(bool columns, double eps)
    {
        var batch = Spread(columns, eps);
        var dy = Enumerable.Repeat(0.7f, batch.X.Length).ToArray();
        var (dx, parameters) = TrainingGradients(batch, dy);
        for (var s = 0; s < batch.Reference.Statistics; s++)
        {
            var scale = Math.Abs(batch.Gamma![s]) / Math.Sqrt(batch.Statistics[s].Variance + eps);
            Assert.All(batch.Members[s], i => AssertWithin(1e-12 * scale, 0, dx[i], $"dx[{i}]"));
            AssertWithin(1e-12 * batch.Reference.Count, 0, parameters.DGamma[s], "dγ");
            AssertWithin(1e-12 * batch.Reference.Count, 0.7f * (double)batch.Reference.Count, parameters.DBeta[s], "dβ");
        }
    }

    // The loss ½|y|² is minimal in every direction that training takes out: nearly all of g cancels.
    [Theory]
    [MemberData(nameof(Cancellations))]
    public void The_output_as_gradient_cancels_and_is_still_right(bool columns, double eps)
    {
        var batch = Spread(columns, eps);
        var dy = TrainingOutput(batch);
        var expected = batch.Reference.TrainingGradients(BatchCase.Widened(batch.X), BatchCase.Widened(dy), batch.Gamma, eps);
        var actual = TrainingGradients(batch, dy);
        AssertTrainingGradients(batch, expected, actual, dy);
        Assert.InRange(Norm(expected.Dx) / Norm(BatchCase.Widened(dy)), 0, 1e-2);
    }

    // Around the share of g at which dx is computed in double: on either side float terms must still be good enough.
    [Fact]
    public void Gradients_that_cancel_in_part_are_right_channel_by_channel()
    {
        foreach (var columns in new[] { true, false })
        {
            foreach (var noise in new[] { 0.5, 0.2, 0.14, 0.13, 0.127, 0.125, 0.12, 0.1, 0.05, 1e-3 })
            {
                var layout = new BatchLayout(columns ? [400, 25] : [4, 25, 100]);
                var batch = new BatchCase(layout, 31, (s, random) => (float)(s + random.NextGaussian()));
                var random = new Random(7);
                var (mean, variance) = batch.Reference.Moments(BatchCase.Widened(batch.X));
                var normalized = batch.Reference.Normalize(BatchCase.Widened(batch.X), mean, variance, null, null, batch.Eps, relu: false);
                // g = cos·1 + sin·x̂ + noise: all but the noise cancels, in another direction for every channel.
                var dy = new float[batch.X.Length];
                for (var i = 0; i < dy.Length; i++)
                {
                    var (sin, cos) = Math.SinCos(batch.Reference.StatisticOf(i));
                    dy[i] = (float)(cos + (sin * normalized[i]) + (noise * random.NextGaussian()));
                }
                var expected = batch.Reference.TrainingGradients(BatchCase.Widened(batch.X), BatchCase.Widened(dy), batch.Gamma, batch.Eps).Dx;
                var dx = TrainingGradients(batch, dy).Dx;
                foreach (var members in batch.Members)
                {
                    AssertWithin(GradientTolerance * Norm(members.Select(i => expected[i])), 0,
                        Norm(members.Select(i => expected[i] - dx[i])), $"‖error of dx‖ with noise {noise}");
                }
            }
        }
    }

    /// <summary>Hard inputs whose gradients stay within float's range.</summary>
    public static TheoryData<string> HardGradientInputs =>
        [.. HardBatches.Names.Where(name => !name.Contains("subnormal numbers,", StringComparison.Ordinal)
            && !name.Contains("smallest normal", StringComparison.Ordinal) && !name.Contains("every magnitude", StringComparison.Ordinal))];

    [Theory]
    [MemberData(nameof(HardGradientInputs))]
    public void Hard_inputs_have_the_gradients_of_the_reference(string name)
    {
        var batch = HardBatches.Named(name);
        AssertTrainingGradients(batch, batch.TrainingGradients, TrainingGradients(batch, batch.Dy), batch.Dy);
        AssertInferenceGradients(batch.InferenceGradients, InferenceGradients(batch, batch.Dy), batch.Dy);
    }

    [Fact]
    public void A_gradient_that_is_not_finite_poisons_its_own_channel_alone()
    {
        foreach (var columns in new[] { true, false })
        {
            var batch = Spread(columns, 1e-5);
            var dy = (float[])batch.Dy.Clone();
            dy[batch.Members[1][60]] = float.NaN;
            var (expected, (dx, parameters)) = (TrainingGradients(batch, batch.Dy), TrainingGradients(batch, dy));
            Assert.True(double.IsNaN(parameters.DGamma[1]) && double.IsNaN(parameters.DBeta[1]));
            Assert.All(batch.Members[1], i => Assert.True(float.IsNaN(dx[i])));
            foreach (var s in new[] { 0, 2 })
            {
                Assert.Equal(expected.Parameters.DGamma[s], parameters.DGamma[s]);
                Assert.Equal(expected.Parameters.DBeta[s], parameters.DBeta[s]);
                Assert.All(batch.Members[s], i => Assert.Equal(expected.Dx[i], dx[i]));
            }
        }
    }

    private static BatchCase Spread(bool columns, double eps) =>
        HardBatches.Of(columns, 400, eps, (_, random) => 5 + (3 * random.NextGaussian()));
}
