using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

/// <summary>
/// What layer, group, instance and RMS normalization, and what builds on batch normalization's plans, must do with vectors of any width.
/// A width that the machine does not have runs in software, so that one process checks all four.
/// </summary>
public abstract partial class KindsContract
{
    private static readonly int[] ThreadCounts = [1, 2, 7];
    private readonly VectorWidth _width;

    protected KindsContract(VectorWidth width) => _width = width;

    private ComputeSettings Settings(int threads = 1) => new(_width, threads);

    // Results of any size go past the caches, as otherwise only large ones do.
    private ComputeSettings Streaming(int threads = 1) => new(_width, threads) { OutOfCacheBytes = 0 };

    private Moments MomentsOf(KindCase @case, int threads = 1) => Forward.BatchMoments(@case.Plan, @case.X, Settings(threads));

    private (float[] Y, Moments Moments) Trained(
        KindCase @case, Activation activation = Activation.None, bool withResidual = false, int threads = 1)
    {
        var y = Unset(@case.X.Length);
        var moments = Forward.Train(
            @case.Plan, @case.X, @case.Parameters(activation), y, Settings(threads), withResidual ? @case.Residual : default);
        return (y, moments);
    }

    private (float[] Dx, ParameterGradients Parameters) GradientsOf(KindCase @case, float[] dy, int threads = 1)
    {
        var dx = Unset(dy.Length);
        return (dx, Backward.Training(@case.Plan, @case.X, dy, MomentsOf(@case), @case.Gamma, @case.Eps, dx, Settings(threads)));
    }

    private float[] ThroughRelu(KindCase @case, bool withResidual, int threads = 1)
    {
        var gated = Unset(@case.X.Length);
        Backward.ThroughRelu(@case.Plan, @case.X, @case.Dy, MomentsOf(@case), @case.Parameters(Activation.Relu), gated, Settings(threads),
            withResidual ? @case.Residual : default);
        return gated;
    }

    // An element that nobody writes is no number.
    private static float[] Unset(int length)
    {
        var values = new float[length];
        Array.Fill(values, float.NaN);
        return values;
    }

    private static void ForEach(IEnumerable<KindCase> cases, Action<KindCase> check)
    {
        var done = 0;
        foreach (var @case in cases)
        {
            try
            {
                check(@case);
            }
            catch (Xunit.Sdk.XunitException failure)
            {
                Assert.Fail($"{@case}: {failure.Message}");
            }
            done++;
        }
        Assert.NotEqual(0, done);
    }

    private static void AssertMoments(KindCase @case, Moments moments)
    {
        Assert.Equal((@case.Reference.Statistics, @case.Reference.Count), (moments.Channels, (int)moments.Count));
        Assert.True(moments.IsFinite);
        var variance = moments.Variance(unbiased: false);
        for (var s = 0; s < variance.Length; s++)
        {
            var (exact, largest) = (@case.Statistics[s], @case.Reference.Members[s].Max(i => Math.Abs((double)@case.X[i])));
            var mean = @case.Layout.Kind == NormalizerKind.RmsNorm ? 0 : exact.Mean;
            AssertWithin(StatisticsTolerance * largest, mean, moments.Mean[s], $"mean[{s}]");
            AssertWithin(StatisticsTolerance * exact.Variance, exact.Variance, variance[s], $"variance[{s}]");
        }
    }

    private static void AssertGradients(
        KindCase @case, ReferenceGradients expected, (float[] Dx, ParameterGradients Parameters) actual, float[] dy)
    {
        // Where the terms of dx cancel, the double reference itself knows it only to a part of their size.
        var terms = TermsOf(@case, dy);
        Assert.True(double.IsFinite(terms), "the terms of dx are not finite");
        AssertNear(expected.Dx, BatchCase.Widened(actual.Dx), 1e-14 * terms, "dx");
        AssertNear(expected.DGamma, actual.Parameters.DGamma, 1e-14 * Norm(BatchCase.Widened(dy)), "dγ");
        AssertNear(expected.DBeta, actual.Parameters.DBeta, 1e-14 * Norm(BatchCase.Widened(dy)), "dβ");
    }

    // The norm of γ·s·g.
    private static double TermsOf(KindCase @case, float[] dy) =>
        Norm(dy.Select((g, i) => g * (@case.Gamma?[@case.Reference.ParameterOf(i)] ?? 1) * InverseDeviation(@case, i)));

    private static double InverseDeviation(KindCase @case, int element)
    {
        var variance = @case.Moments.Variance[@case.Reference.StatisticOf(element)] + @case.Eps;
        return variance == 0 ? 0 : 1 / Math.Sqrt(variance);
    }
}

public sealed class ScalarKindsTests() : KindsContract(VectorWidth.Scalar);

public sealed class Vector128KindsTests() : KindsContract(VectorWidth.Bits128);

public sealed class Vector256KindsTests() : KindsContract(VectorWidth.Bits256);

public sealed class Vector512KindsTests() : KindsContract(VectorWidth.Bits512);
