using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    /// <summary>Batches with a variance: a single value per statistic is refused in training.</summary>
    public static TheoryData<string> TrainableBatches =>
        [.. BatchCatalog.Small.Concat(BatchCatalog.Large).Where(name => BatchCatalog.Named(name).Reference.Count > 1)];

    [Theory]
    [MemberData(nameof(TrainableBatches))]
    public void Training_gradients_match_the_reference(string name)
    {
        var batch = BatchCatalog.Named(name);
        foreach (var threads in ThreadCounts)
            AssertTrainingGradients(batch, batch.TrainingGradients, TrainingGradients(batch, batch.Dy, threads), batch.Dy);
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Inference_gradients_match_the_reference(string name)
    {
        var batch = BatchCatalog.Named(name);
        foreach (var threads in ThreadCounts)
            AssertInferenceGradients(batch.InferenceGradients, InferenceGradients(batch, batch.Dy, threads), batch.Dy);
    }

    [Theory]
    [MemberData(nameof(TrainableBatches))]
    public void Gradients_through_relu_vanish_exactly_where_the_output_did(string name)
    {
        var batch = BatchCatalog.Named(name);
        using var map = AffineMap.Of(MomentsOf(batch), batch.Gamma, batch.Beta, batch.Eps);
        var y = Output(batch, map, Activation.Relu);
        var expected = batch.Dy.Select((g, i) => y[i] <= 0 ? 0 : g).ToArray();
        foreach (var threads in ThreadCounts) AssertSameBits(expected, ThroughRelu(batch, map, threads));
        var reference = batch.Reference.TrainingGradients(BatchCase.Widened(batch.X), BatchCase.Widened(expected), batch.Gamma, batch.Eps);
        AssertTrainingGradients(batch, reference, TrainingGradients(batch, expected), expected);
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Gradients_through_relu_agree_with_inference_too(string name)
    {
        var batch = BatchCatalog.Named(name);
        using var map = AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps);
        var y = Output(batch, map, Activation.Relu);
        var gated = (float[])batch.Dy.Clone();
        Backward.ThroughRelu(batch.Plan, batch.X, gated, map, gated, Settings(2));
        AssertSameBits([.. batch.Dy.Select((g, i) => y[i] <= 0 ? 0 : g)], gated);
    }

    [Fact]
    public void An_output_of_exactly_zero_passes_no_gradient_and_one_that_is_no_number_does()
    {
        foreach (var columns in new[] { true, false })
        {
            // x̂ = 0 throughout statistic 1, and no β: so is y.
            var batch = HardBatches.Of(columns, 150, 1e-5, (_, _) => 7, hasBeta: false);
            using var map = AffineMap.Of(MomentsOf(batch), batch.Gamma, batch.Beta, batch.Eps);
            var gated = new float[batch.X.Length];
            Backward.ThroughRelu(batch.Plan, batch.X, batch.Dy, map, gated, Settings());
            Assert.All(batch.Members[1], i => Assert.Equal(0, gated[i]));

            var x = (float[])batch.X.Clone();
            foreach (var i in batch.Members[1]) x[i] = float.NaN;
            Backward.ThroughRelu(batch.Plan, x, batch.Dy, map, gated, Settings());
            Assert.All(batch.Members[1], i => Assert.Equal(batch.Dy[i], gated[i]));
        }
    }

    [Theory]
    [MemberData(nameof(TrainableBatches))]
    public void The_gradient_by_x_may_take_the_place_of_the_gradient_by_y(string name)
    {
        var batch = BatchCatalog.Named(name);
        var (training, inference) = ((float[])batch.Dy.Clone(), (float[])batch.Dy.Clone());
        Backward.Training(batch.Plan, batch.X, training, MomentsOf(batch), batch.Gamma, batch.Eps, training, Settings(2));
        Backward.Inference(batch.Plan, batch.X, inference, batch.Running, batch.Gamma, batch.Eps, inference, Settings(2));
        AssertSameBits(TrainingGradients(batch, batch.Dy).Dx, training);
        AssertSameBits(InferenceGradients(batch, batch.Dy).Dx, inference);
    }

    // x̂ is orthogonal to dx in both of the directions that training takes out.
    [Theory]
    [MemberData(nameof(TrainableBatches))]
    public void Gradients_by_x_sum_to_nothing_and_are_orthogonal_to_the_normalized_input(string name)
    {
        var batch = BatchCatalog.Named(name);
        var (mean, variance) = batch.Reference.Moments(BatchCase.Widened(batch.X));
        var normalized = batch.Reference.Normalize(BatchCase.Widened(batch.X), mean, variance, null, null, batch.Eps, relu: false);
        var dx = TrainingGradients(batch, batch.Dy).Dx;
        for (var s = 0; s < batch.Reference.Statistics; s++)
        {
            var members = batch.Members[s];
            var scale = Math.Abs(batch.Gamma?[s] ?? 1) / Math.Sqrt(variance[s] + batch.Eps);
            var size = scale * Norm(members.Select(i => (double)batch.Dy[i]));
            // dx is rounded to float: each of m elements to 2⁻²⁴ of itself, and ‖x̂‖ = √m at most.
            var rounding = GradientTolerance * size * Math.Sqrt(members.Length);
            AssertWithin(rounding, 0, members.Sum(i => (double)dx[i]), $"Σdx of statistic {s}");
            // What ε adds to σ² leaves a share of dγ in dx: Σdx·x̂ = γ·s·dγ·(1 − Σx̂²/m).
            var left = (batch.Gamma?[s] ?? 1) / Math.Sqrt(variance[s] + batch.Eps) * batch.TrainingGradients.DGamma[s]
                * batch.Eps / (variance[s] + batch.Eps);
            AssertWithin(rounding, left, members.Sum(i => dx[i] * normalized[i]), $"Σdx·x̂ of statistic {s}");
        }
    }
}
