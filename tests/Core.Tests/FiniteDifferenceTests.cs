using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests;

/// <summary>
/// The gradients that everything else is judged by are those of the function: central differences of a random linear loss L = Σw·y
/// through the forward pass of the double reference.
/// </summary>
public sealed class FiniteDifferenceTests
{
    // A third of double's digits: truncation (h²) and rounding (2⁻⁵³/h) of a central difference meet here, at about 1e-10.
    private const double H = 6e-6;
    private const double DifferenceTolerance = 2e-8;

    // The core's gradients may be off by 2e-6 from the function's, and the differences by their own tolerance.
    private const double CoreTolerance = 2e-6 + DifferenceTolerance;

    public static TheoryData<int[], int, Granularity, bool> Cases => new()
    {
        { [7, 3], 1, Granularity.PerChannel, false },
        { [3, 2, 5], 1, Granularity.PerChannel, true },
        { [2, 3, 4, 2], 1, Granularity.PerChannel, false },
        { [2, 2, 2, 3, 2], 1, Granularity.PerChannel, false },
        { [3, 4, 2], -1, Granularity.PerChannel, true },
        { [2, 2, 3, 2, 3], -1, Granularity.PerChannel, false },
        { [6, 2, 3], 1, Granularity.PerActivation, true },
        { [5, 3, 2], -1, Granularity.PerActivation, false },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Training_gradients_are_those_of_the_function(int[] shape, int axis, Granularity granularity, bool relu)
    {
        var batch = Make(shape, axis, granularity);
        var (gamma, beta, w) = (batch.Gamma!, batch.Beta!, BatchCase.Widened(batch.Dy));
        double[] Y(double[] x, double[] g, double[] b)
        {
            var (mean, variance) = batch.Reference.Moments(x);
            return batch.Reference.Normalize(x, mean, variance, g, b, batch.Eps, relu);
        }

        var x = BatchCase.Widened(batch.X);
        var gated = Gated(Y(x, gamma, beta), batch.Dy, relu);
        var reference = batch.Reference.TrainingGradients(x, BatchCase.Widened(gated), gamma, batch.Eps);
        var dx = new float[gated.Length];
        var moments = Forward.BatchMoments(batch.Plan, batch.X, Settings);
        var parameters = Backward.Training(batch.Plan, batch.X, gated, moments, gamma, batch.Eps, dx, Settings);
        AssertGradients(Differences(x, gamma, beta, w, Y), reference, dx, parameters);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Inference_gradients_are_those_of_the_function(int[] shape, int axis, Granularity granularity, bool relu)
    {
        var batch = Make(shape, axis, granularity);
        var (gamma, beta, w) = (batch.Gamma!, batch.Beta!, BatchCase.Widened(batch.Dy));
        double[] Y(double[] x, double[] g, double[] b) =>
            batch.Reference.Normalize(x, batch.Running.Mean, batch.Running.Variance, g, b, batch.Eps, relu);

        var x = BatchCase.Widened(batch.X);
        var gated = Gated(Y(x, gamma, beta), batch.Dy, relu);
        var reference = batch.Reference.InferenceGradients(
            x, BatchCase.Widened(gated), batch.Running.Mean, batch.Running.Variance, gamma, batch.Eps);
        var dx = new float[gated.Length];
        var parameters = Backward.Inference(batch.Plan, batch.X, gated, batch.Running, gamma, batch.Eps, dx, Settings);
        AssertGradients(Differences(x, gamma, beta, w, Y), reference, dx, parameters);
    }

    private static ComputeSettings Settings => new(VectorWidths.Widest, 1);

    private static BatchCase Make(int[] shape, int axis, Granularity granularity) =>
        new(new BatchLayout(shape, axis, granularity, Eps: 1e-3), 41, (s, random) => (float)(s + (1.5 * random.NextGaussian())));

    // No output lies so near relu's kink that a difference would reach across it.
    private static float[] Gated(double[] y, float[] dy, bool relu)
    {
        Assert.All(y, value => Assert.True(!relu || value == 0 || value > 1e-3));
        return [.. dy.Select((g, i) => relu && y[i] <= 0 ? 0 : g)];
    }

    private static ReferenceGradients Differences(
        double[] x, double[] gamma, double[] beta, double[] w, Func<double[], double[], double[], double[]> y)
    {
        double Loss() => y(x, gamma, beta).Zip(w, (value, weight) => value * weight).Sum();
        double[] By(double[] variable)
        {
            var gradient = new double[variable.Length];
            for (var i = 0; i < variable.Length; i++)
            {
                var value = variable[i];
                variable[i] = value + H;
                var above = Loss();
                variable[i] = value - H;
                gradient[i] = (above - Loss()) / (2 * H);
                variable[i] = value;
            }
            return gradient;
        }

        (x, gamma, beta) = ((double[])x.Clone(), (double[])gamma.Clone(), (double[])beta.Clone());
        return new ReferenceGradients(By(x), By(gamma), By(beta));
    }

    private static void AssertGradients(
        ReferenceGradients differences, ReferenceGradients reference, float[] dx, ParameterGradients parameters)
    {
        AssertNear(differences.Dx, reference.Dx, DifferenceTolerance);
        AssertNear(differences.DGamma, reference.DGamma, DifferenceTolerance);
        AssertNear(differences.DBeta, reference.DBeta, DifferenceTolerance);
        AssertNear(differences.Dx, BatchCase.Widened(dx), CoreTolerance);
        AssertNear(differences.DGamma, parameters.DGamma, CoreTolerance);
        AssertNear(differences.DBeta, parameters.DBeta, CoreTolerance);
    }

    private static void AssertNear(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.NotEqual(0, Norm(expected));
        Assert.InRange(Norm([.. expected.Zip(actual, (e, a) => e - a)]), 0, tolerance * Norm(expected));
    }

    private static double Norm(double[] values) => Math.Sqrt(values.Sum(v => v * v));
}
