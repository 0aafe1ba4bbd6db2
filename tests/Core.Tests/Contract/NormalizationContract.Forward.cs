using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Moments_match_exact_arithmetic(string name)
    {
        var batch = BatchCatalog.Named(name);
        foreach (var threads in ThreadCounts) AssertMoments(batch, MomentsOf(batch, threads));
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Training_output_matches_exact_arithmetic(string name)
    {
        var batch = BatchCatalog.Named(name);
        foreach (var threads in ThreadCounts)
        {
            AssertOutput(batch.TrainingOutput, TrainingOutput(batch, Activation.None, threads));
            AssertOutput(batch.TrainingOutput, TrainingOutput(batch, Activation.Relu, threads), Activation.Relu);
        }
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Inference_output_matches_exact_arithmetic(string name)
    {
        var batch = BatchCatalog.Named(name);
        foreach (var threads in ThreadCounts)
        {
            AssertOutput(batch.InferenceOutput, InferenceOutput(batch, Activation.None, threads));
            AssertOutput(batch.InferenceOutput, InferenceOutput(batch, Activation.Relu, threads), Activation.Relu);
        }
    }

    // One pass over memory instead of two, and results past the caches, are a matter of speed alone.
    [Theory]
    [MemberData(nameof(AllBatches))]
    public void A_training_forward_in_one_go_has_the_bits_of_its_two_halves(string name)
    {
        var batch = BatchCatalog.Named(name);
        var expected = MomentsOf(batch);
        foreach (var activation in new[] { Activation.None, Activation.Relu })
        {
            var output = TrainingOutput(batch, activation);
            foreach (var threads in ThreadCounts)
            {
                foreach (var settings in new[] { Settings(threads), Streaming(threads) })
                {
                    var y = new float[output.Length];
                    var moments = Forward.Train(batch.Plan, batch.X, new(batch.Gamma, batch.Beta, batch.Eps, activation), y, settings);
                    AssertSameBits(output, y);
                    AssertSameMoments(expected, moments);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void A_training_forward_may_overwrite_its_input(string name)
    {
        var batch = BatchCatalog.Named(name);
        foreach (var settings in new[] { Settings(2), Streaming(2) })
        {
            var y = (float[])batch.X.Clone();
            AssertSameMoments(MomentsOf(batch),
                Forward.Train(batch.Plan, y, new(batch.Gamma, batch.Beta, batch.Eps, Activation.None), y, settings));
            AssertSameBits(TrainingOutput(batch), y);
        }
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Results_that_go_past_the_caches_have_the_same_bits(string name)
    {
        var batch = BatchCatalog.Named(name);
        using var map = AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps);
        // Streaming stores begin at an aligned address: wherever the output begins, they must find one.
        var memory = new float[batch.X.Length + 16];
        foreach (var offset in batch.X.Length < 5000 ? Enumerable.Range(0, 16) : [3])
        {
            var output = memory.AsSpan(offset, batch.X.Length);
            Forward.Apply(batch.Plan, batch.X, map, Activation.None, output, Streaming(2));
            AssertSameBits(InferenceOutput(batch), output.ToArray());
            Backward.ThroughRelu(batch.Plan, batch.X, batch.Dy, map, output, Streaming(2));
            AssertSameBits(ThroughRelu(batch, map), output.ToArray());
            Backward.Inference(batch.Plan, batch.X, batch.Dy, batch.Running, batch.Gamma, batch.Eps, output, Streaming(2));
            AssertSameBits(InferenceGradients(batch, batch.Dy).Dx, output.ToArray());
            if (batch.Reference.Count == 1) continue;
            Backward.Training(batch.Plan, batch.X, batch.Dy, MomentsOf(batch), batch.Gamma, batch.Eps, output, Streaming(2));
            AssertSameBits(TrainingGradients(batch, batch.Dy).Dx, output.ToArray());
        }
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Relu_cuts_the_plain_output_and_nothing_else(string name)
    {
        var batch = BatchCatalog.Named(name);
        var cut = Array.ConvertAll(TrainingOutput(batch), y => y > 0 ? y : 0);
        AssertSameBits(cut, TrainingOutput(batch, Activation.Relu));
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void The_output_may_take_the_place_of_the_input(string name)
    {
        var batch = BatchCatalog.Named(name);
        using var map = AffineMap.Of(MomentsOf(batch), batch.Gamma, batch.Beta, batch.Eps);
        var y = (float[])batch.X.Clone();
        Forward.Apply(batch.Plan, y, map, Activation.None, y, Settings(2));
        AssertSameBits(Output(batch, map, Activation.None), y);
    }

    [Fact]
    public void The_contract_meets_both_memory_shapes_and_enough_batches()
    {
        Assert.True(BatchCatalog.Small.Count > 200, $"{BatchCatalog.Small.Count} small batches");
        Assert.Equal(9, BatchCatalog.Large.Count);
        var columns = BatchCatalog.Small.Count(name => BatchCatalog.Named(name).Plan.View.IsColumns);
        Assert.InRange(columns, 50, BatchCatalog.Small.Count - 50);
    }

    [Fact]
    public void A_wrong_number_of_elements_is_refused()
    {
        var batch = BatchCatalog.Named(BatchCatalog.Small[0]);
        using var map = AffineMap.Of(MomentsOf(batch), batch.Gamma, batch.Beta, batch.Eps);
        var shorter = new float[batch.X.Length - 1];
        var longer = new float[batch.X.Length + 1];
        foreach (var wrong in new[] { shorter, longer })
        {
            Assert.Throws<ArgumentException>("x", () => Forward.BatchMoments(batch.Plan, wrong, Settings()));
            Assert.Throws<ArgumentException>("x", () => Forward.Apply(batch.Plan, wrong, map, Activation.None, batch.X, Settings()));
            Assert.Throws<ArgumentException>("y", () => Forward.Apply(batch.Plan, batch.X, map, Activation.None, wrong, Settings()));
            Assert.Throws<ArgumentException>("x", () =>
                Forward.Train(batch.Plan, wrong, new(null, null, 0, Activation.None), batch.X, Settings()));
            Assert.Throws<ArgumentException>("y", () =>
                Forward.Train(batch.Plan, batch.X, new(null, null, 0, Activation.None), wrong, Settings()));
            Assert.Throws<ArgumentException>("dy", () => InferenceGradients(batch, wrong));
            Assert.Throws<ArgumentException>("dx", () =>
                Backward.Inference(batch.Plan, batch.X, batch.Dy, batch.Running, batch.Gamma, batch.Eps, wrong, Settings()));
        }
    }

    internal static void AssertSameBits(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
        {
            if (BitConverter.SingleToInt32Bits(expected[i]) != BitConverter.SingleToInt32Bits(actual[i]))
                Assert.Fail($"element {i}: expected {expected[i]:R}, got {actual[i]:R}");
        }
    }

    internal static void AssertSameBits(double[] expected, double[] actual) =>
        Assert.Equal(Array.ConvertAll(expected, BitConverter.DoubleToInt64Bits), Array.ConvertAll(actual, BitConverter.DoubleToInt64Bits));
}
