using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

/// <summary>
/// What synchronized batch normalization must do with vectors of any width: a batch cut over ranks, in whatever way, comes out as exact
/// arithmetic and the double reference have it for the whole.
/// </summary>
public abstract partial class SynchronizedContract(VectorWidth width)
{
    private static readonly string[] Known =
        [.. BatchCatalog.Small.Concat(BatchCatalog.Large).Where(name => BatchCatalog.Named(name).Reference.Count > 1)];

    private ComputeSettings Settings(int threads = 1) => new(width, threads);

    private RankedBatch Ranked(
        BatchCase batch, Func<NormalizerOptions, NormalizerOptions>? options = null, int threads = 1, Func<int, bool>? isValid = null) =>
        new(batch, RankedBatch.Cut(batch.Layout.Shape[0]), Settings(threads), options, isValid);

    private static NormalizerOptions WithRelu(NormalizerOptions options) => options with { Activation = Activation.Relu };

    private static void ForEach(IEnumerable<BatchCase> batches, Action<BatchCase> check)
    {
        var done = 0;
        foreach (var batch in batches)
        {
            try
            {
                check(batch);
            }
            catch (Xunit.Sdk.XunitException failure)
            {
                Assert.Fail($"{batch.Layout}: {failure.Message}");
            }
            done++;
        }
        Assert.NotEqual(0, done);
    }

    /// <summary>dx of the whole, dγ and dβ of every rank, and their sums, against the reference.</summary>
    private static void AssertGradients(
        BatchCase batch, RankedBatch ranked, float[] gradient, (float[] Dx, float[] Gradient, ParameterGradients[] Parameters) actual)
    {
        var expected = batch.Reference.TrainingGradients(BatchCase.Widened(batch.X), BatchCase.Widened(gradient), batch.Gamma, batch.Eps);
        AssertTrainingGradients(batch, expected, (actual.Dx, actual.Parameters.Aggregate((a, b) => a.Plus(b))), gradient);
        var (mean, variance) = batch.Reference.Moments(BatchCase.Widened(batch.X));
        var normalized = batch.Reference.Normalize(BatchCase.Widened(batch.X), mean, variance, null, null, batch.Eps, relu: false);
        foreach (var (elements, parameters) in ranked.Elements.Zip(actual.Parameters))
        {
            var (dGamma, dBeta) = (new double[mean.Length], new double[mean.Length]);
            for (var i = elements.Start.Value; i < elements.End.Value; i++)
            {
                dGamma[batch.Reference.StatisticOf(i)] += gradient[i] * normalized[i];
                dBeta[batch.Reference.StatisticOf(i)] += gradient[i];
            }
            AssertNear(dGamma, parameters.DGamma, 1e-14 * Norm(BatchCase.Widened(gradient)), "dγ of a rank");
            AssertNear(dBeta, parameters.DBeta, 1e-14 * Norm(BatchCase.Widened(gradient)), "dβ of a rank");
        }
    }
}

public sealed class ScalarSynchronizedTests() : SynchronizedContract(VectorWidth.Scalar);

public sealed class Vector128SynchronizedTests() : SynchronizedContract(VectorWidth.Bits128);

public sealed class Vector256SynchronizedTests() : SynchronizedContract(VectorWidth.Bits256);

public sealed class Vector512SynchronizedTests() : SynchronizedContract(VectorWidth.Bits512);
