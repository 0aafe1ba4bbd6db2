using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    public static TheoryData<string> LargeBatches => [.. BatchCatalog.Large];

    [Theory]
    [MemberData(nameof(LargeBatches))]
    public void The_number_of_threads_does_not_change_a_bit(string name)
    {
        var batch = BatchCatalog.Named(name);
        var expected = Everything(batch, threads: 1);
        foreach (var threads in ThreadCounts[1..]) AssertSameResults(expected, Everything(batch, threads));
    }

    [Fact]
    public void Load_does_not_change_a_bit()
    {
        var batches = BatchCatalog.Large.Select(BatchCatalog.Named).Where(b => b.X.Length < 220_000).ToArray();
        Assert.NotEmpty(batches);
        var expected = Array.ConvertAll(batches, b => Everything(b, threads: 1));
        // More work than cores, and every computation asks for threads of its own.
        Parallel.For(0, 6 * batches.Length, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
            AssertSameResults(expected[i % batches.Length], Everything(batches[i % batches.Length], threads: 1 + (i % 7))));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    public void A_cancelled_computation_says_so(int threads)
    {
        using var cancellation = new CancellationTokenSource();
        cancellation.Cancel();
        foreach (var batch in BatchCatalog.Large.Select(BatchCatalog.Named))
        {
            var settings = Settings(threads) with { Cancellation = cancellation.Token };
            using var map = AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps);
            var y = new float[batch.X.Length];
            Assert.Throws<OperationCanceledException>(() => Forward.BatchMoments(batch.Plan, batch.X, settings));
            Assert.Throws<OperationCanceledException>(() => Forward.Apply(batch.Plan, batch.X, map, Activation.None, y, settings));
            Assert.Throws<OperationCanceledException>(
                () => Forward.Train(batch.Plan, batch.X, new(null, null, 1, Activation.None), y, settings));
            Assert.Throws<OperationCanceledException>(
                () => Backward.Inference(batch.Plan, batch.X, batch.Dy, batch.Running, null, 1, y, settings));
        }
    }

    [Fact]
    public void Where_a_tensor_lies_in_memory_does_not_change_a_bit()
    {
        foreach (var batch in new[] { "[257, 5]", "[2, 3, 257]" }.Select(OfShape))
        {
            using var map = AffineMap.Of(MomentsOf(batch), batch.Gamma, batch.Beta, batch.Eps);
            var moments = MomentsOf(batch);
            var y = Output(batch, map, Activation.None);
            var memory = new float[batch.X.Length + 16];
            for (var offset = 0; offset < 16; offset++)
            {
                var moved = memory.AsSpan(offset, batch.X.Length);
                batch.X.CopyTo(moved);
                var movedMoments = Forward.BatchMoments(batch.Plan, moved, Settings());
                AssertSameMoments(moments, movedMoments);
                Forward.Apply(batch.Plan, moved, map, Activation.None, moved, Settings());
                AssertSameBits(y, moved.ToArray());
            }
        }
    }

    // The batch of a shape, whichever parameters the catalog gave it.
    private static BatchCase OfShape(string shape) =>
        BatchCatalog.Named(BatchCatalog.Small.First(name => name.StartsWith(shape, StringComparison.Ordinal)));

    private (double[][] Doubles, float[][] Floats) Everything(BatchCase batch, int threads)
    {
        var moments = MomentsOf(batch, threads);
        var training = TrainingGradients(batch, batch.Dy, threads);
        var inference = InferenceGradients(batch, batch.Dy, threads);
        return (
            [moments.Mean, moments.MeanResidual, moments.M2, training.Parameters.DGamma, training.Parameters.DBeta,
                inference.Parameters.DGamma, inference.Parameters.DBeta],
            [TrainedOutput(batch, threads), TrainingOutput(batch, Activation.None, threads),
                TrainingOutput(batch, Activation.Relu, threads), InferenceOutput(batch, Activation.None, threads), training.Dx, inference.Dx]);
    }

    private float[] TrainedOutput(BatchCase batch, int threads)
    {
        var y = new float[batch.X.Length];
        Forward.Train(batch.Plan, batch.X, new(batch.Gamma, batch.Beta, batch.Eps, Activation.None), y, Settings(threads));
        return y;
    }

    private static void AssertSameResults((double[][] Doubles, float[][] Floats) expected, (double[][] Doubles, float[][] Floats) actual)
    {
        for (var i = 0; i < expected.Doubles.Length; i++) AssertSameBits(expected.Doubles[i], actual.Doubles[i]);
        for (var i = 0; i < expected.Floats.Length; i++) AssertSameBits(expected.Floats[i], actual.Floats[i]);
    }
}
