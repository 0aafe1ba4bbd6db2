using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

/// <summary>
/// What batch normalization must do with vectors of any width. A width that the machine does not have runs in software, so that one
/// process checks all four.
/// </summary>
public abstract partial class NormalizationContract
{
    // Of mathematics.md. They are what was promised, not what was measured.
    internal const double StatisticsTolerance = 1e-12, GradientTolerance = 2e-6;

    private static readonly int[] ThreadCounts = [1, 2, 7];
    private readonly VectorWidth _width;

    protected NormalizationContract(VectorWidth width) => _width = width;

    public static TheoryData<string> AllBatches => [.. BatchCatalog.Small, .. BatchCatalog.Large];

    private ComputeSettings Settings(int threads = 1) => new(_width, threads);

    // Results of any size go past the caches, as otherwise only large ones do.
    private ComputeSettings Streaming(int threads = 1) => new(_width, threads) { OutOfCacheBytes = 0 };

    private Moments MomentsOf(BatchCase batch, int threads = 1) => Forward.BatchMoments(batch.Plan, batch.X, Settings(threads));

    private float[] Output(BatchCase batch, AffineMap map, Activation activation, int threads = 1)
    {
        var y = new float[batch.X.Length];
        Array.Fill(y, float.NaN);
        Forward.Apply(batch.Plan, batch.X, map, activation, y, Settings(threads));
        return y;
    }

    private float[] TrainingOutput(BatchCase batch, Activation activation = Activation.None, int threads = 1)
    {
        using var map = AffineMap.Of(MomentsOf(batch, threads), batch.Gamma, batch.Beta, batch.Eps);
        return Output(batch, map, activation, threads);
    }

    private float[] InferenceOutput(BatchCase batch, Activation activation = Activation.None, int threads = 1)
    {
        using var map = AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps);
        return Output(batch, map, activation, threads);
    }

    private float[] ThroughRelu(BatchCase batch, AffineMap map, int threads = 1)
    {
        var gated = new float[batch.X.Length];
        Backward.ThroughRelu(batch.Plan, batch.X, batch.Dy, map, gated, Settings(threads));
        return gated;
    }

    private (float[] Dx, ParameterGradients Parameters) TrainingGradients(BatchCase batch, float[] dy, int threads = 1)
    {
        var dx = new float[dy.Length];
        Array.Fill(dx, float.NaN);
        return (dx, Backward.Training(batch.Plan, batch.X, dy, MomentsOf(batch, threads), batch.Gamma, batch.Eps, dx, Settings(threads)));
    }

    private (float[] Dx, ParameterGradients Parameters) InferenceGradients(BatchCase batch, float[] dy, int threads = 1)
    {
        var dx = new float[dy.Length];
        Array.Fill(dx, float.NaN);
        return (dx, Backward.Inference(batch.Plan, batch.X, dy, batch.Running, batch.Gamma, batch.Eps, dx, Settings(threads)));
    }

    internal static void AssertMoments(BatchCase batch, Moments moments)
    {
        Assert.Equal(batch.Reference.Count, moments.Count);
        Assert.Equal(batch.Reference.Statistics, moments.Channels);
        var variance = moments.Variance(unbiased: false);
        for (var s = 0; s < variance.Length; s++)
        {
            var largest = batch.Members[s].Max(i => Math.Abs((double)batch.X[i]));
            var exact = batch.Statistics[s];
            AssertWithin(StatisticsTolerance * largest, exact.Mean, moments.Mean[s], $"mean[{s}]");
            AssertWithin(StatisticsTolerance * exact.Variance, exact.Variance, variance[s], $"variance[{s}]");
        }
    }

    internal static void AssertSameMoments(Moments expected, Moments actual)
    {
        Assert.Equal(expected.Count, actual.Count);
        AssertSameBits(expected.Mean, actual.Mean);
        AssertSameBits(expected.MeanResidual, actual.MeanResidual);
        AssertSameBits(expected.M2, actual.M2);
    }

    internal static void AssertOutput(ExactOutput expected, float[] y, Activation activation = Activation.None)
    {
        var (share, element) = expected.Worst(y, activation == Activation.Relu);
        Assert.True(share <= 1, $"y[{element}] is {share:G4} times as far off as allowed: " +
            $"got {(element < 0 ? 0 : y[element]):R}, exact is {(element < 0 ? 0 : expected[element]):R}");
    }

    internal static void AssertTrainingGradients(
        BatchCase batch, ReferenceGradients expected, (float[] Dx, ParameterGradients Parameters) actual, float[] dy)
    {
        // Where the terms of dx cancel, the double reference itself knows it only to a part of their size.
        var deviation = Array.ConvertAll(batch.Statistics, s => Math.Sqrt(s.Variance + batch.Eps));
        var scale = deviation.Select((d, s) => (batch.Gamma?[s] ?? 1) / d).ToArray();
        var terms = Norm(dy.Select((g, i) => g * scale[batch.Reference.StatisticOf(i)]));
        Assert.True(double.IsFinite(terms), "the terms of dx are not finite");
        AssertNear(expected.Dx, BatchCase.Widened(actual.Dx), 1e-14 * terms, "dx");
        AssertParameterGradients(expected, actual.Parameters, dy);
    }

    private static void AssertInferenceGradients(
        ReferenceGradients expected, (float[] Dx, ParameterGradients Parameters) actual, float[] dy)
    {
        AssertNear(expected.Dx, BatchCase.Widened(actual.Dx), 0, "dx");
        AssertParameterGradients(expected, actual.Parameters, dy);
    }

    private static void AssertParameterGradients(ReferenceGradients expected, ParameterGradients actual, float[] dy)
    {
        AssertNear(expected.DGamma, actual.DGamma, 1e-14 * Norm(BatchCase.Widened(dy)), "dγ");
        AssertNear(expected.DBeta, actual.DBeta, 1e-14 * Norm(BatchCase.Widened(dy)), "dβ");
    }

    internal static void AssertNear(double[] expected, double[] actual, double unknown, string name)
    {
        Assert.Equal(expected.Length, actual.Length);
        AssertWithin((GradientTolerance * Norm(expected)) + unknown, 0, Norm(expected.Zip(actual, (e, a) => e - a)), $"‖error of {name}‖");
    }

    internal static double Norm(IEnumerable<double> values) => Math.Sqrt(values.Sum(v => v * v));

    // The message is made when it is needed: there are millions of these.
    internal static void AssertWithin(double tolerance, double expected, double actual, string name)
    {
        if (!(Math.Abs(actual - expected) <= tolerance)) Assert.Fail($"{name}: expected {expected:R} ± {tolerance:G3}, got {actual:R}");
    }
}

public sealed class ScalarNormalizationTests() : NormalizationContract(VectorWidth.Scalar);

public sealed class Vector128NormalizationTests() : NormalizationContract(VectorWidth.Bits128);

public sealed class Vector256NormalizationTests() : NormalizationContract(VectorWidth.Bits256);

public sealed class Vector512NormalizationTests() : NormalizationContract(VectorWidth.Bits512);
