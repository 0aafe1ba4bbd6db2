using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests;

/// <summary>
/// The gradients that the kinds are judged by are those of the function: central differences of a random linear loss L = Σw·y through
/// the forward pass of the double reference.
/// </summary>
public sealed class KindFiniteDifferenceTests
{
    // A third of double's digits: truncation (h²) and rounding (2⁻⁵³/h) of a central difference meet here, at about 1e-10.
    private const double H = 6e-6;
    private const double DifferenceTolerance = 2e-8;

    // The core's gradients may be off by 2e-6 from the function's, and the differences by their own tolerance.
    private const double CoreTolerance = 2e-6 + DifferenceTolerance;

    public static TheoryData<NormalizerKind, int[], int, int, int, bool> Cases => new()
    {
        { NormalizerKind.LayerNorm, [4, 7], 1, 1, 1, false },
        { NormalizerKind.LayerNorm, [3, 2, 5], 1, 1, 2, true },
        { NormalizerKind.LayerNorm, [2, 2, 3, 1, 2], 1, 1, 3, true },
        { NormalizerKind.RmsNorm, [4, 7], 1, 1, 1, true },
        { NormalizerKind.RmsNorm, [2, 3, 2, 3], 1, 1, 2, false },
        { NormalizerKind.RmsNorm, [5, 1], 1, 1, 1, false },
        { NormalizerKind.GroupNorm, [3, 6], 1, 2, 1, true },
        { NormalizerKind.GroupNorm, [2, 4, 5], 1, 1, 1, false },
        { NormalizerKind.GroupNorm, [2, 3, 2, 4], -1, 2, 1, true },
        { NormalizerKind.InstanceNorm, [2, 3, 5], 1, 1, 1, true },
        { NormalizerKind.InstanceNorm, [2, 2, 2, 2, 3], -1, 1, 1, false },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Gradients_of_every_kind_are_those_of_the_function(
        NormalizerKind kind, int[] shape, int axis, int groups, int trailing, bool withResidualAndRelu)
    {
        var @case = new KindCase(new(kind, shape, axis, groups, trailing, Eps: 1e-3), 43, (s, _, random) => s + (1.5 * random.NextGaussian()));
        var (x, gamma, beta) = (BatchCase.Widened(@case.X), (double[])@case.Gamma!.Clone(), (double[])@case.Beta!.Clone());
        double[] Y()
        {
            var y = @case.Reference.Output(x, gamma, beta, @case.Eps);
            for (var i = 0; withResidualAndRelu && i < y.Length; i++) y[i] = Math.Max(0, y[i] + @case.Residual[i]);
            return y;
        }

        double Loss() => Y().Zip(@case.Dy, (value, weight) => value * weight).Sum();
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

        // No output lies so near relu's kink that a difference would reach across it.
        Assert.All(Y(), y => Assert.True(!withResidualAndRelu || y is 0 or > 1e-3));
        var differences = new ReferenceGradients(By(x), By(gamma), By(beta));

        var settings = new ComputeSettings(VectorWidths.Widest, 1);
        var moments = Forward.BatchMoments(@case.Plan, @case.X, settings);
        var gated = (float[])@case.Dy.Clone();
        if (withResidualAndRelu)
            Backward.ThroughRelu(@case.Plan, @case.X, gated, moments, @case.Parameters(Activation.Relu), gated, settings, @case.Residual);
        var reference = @case.Reference.Gradients(x, BatchCase.Widened(gated), gamma, @case.Eps);
        var dx = new float[gated.Length];
        var parameters = Backward.Training(@case.Plan, @case.X, gated, moments, gamma, @case.Eps, dx, settings);
        foreach (var (difference, ofReference, ofCore) in new[]
        {
            (differences.Dx, reference.Dx, BatchCase.Widened(dx)),
            (differences.DGamma, reference.DGamma, parameters.DGamma),
            (differences.DBeta, reference.DBeta, parameters.DBeta),
        })
        {
            AssertNear(difference, ofReference, DifferenceTolerance);
            AssertNear(difference, ofCore, CoreTolerance);
        }
    }

    private static void AssertNear(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.NotEqual(0, Norm(expected));
        Assert.InRange(Norm([.. expected.Zip(actual, (e, a) => e - a)]), 0, tolerance * Norm(expected));
    }

    private static double Norm(double[] values) => Math.Sqrt(values.Sum(v => v * v));
}
