using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Contract;

// Every size from 0 to 70 in pairs of dimensions: each count of vectors that unrolling leaves, and each count of lanes behind them,
// with few and with many channels (which decides whether channels are repeated side by side, and whether passes are fused).
public abstract partial class NormalizationContract
{
    private const int GridEnd = 70;
    private const double OutputTolerance = 4.0 / (1 << 24);

    [Fact]
    public void Dense_batches_of_every_size_are_right() => CheckGrid((n, c) => [n, c]);

    [Fact]
    public void Planes_of_every_size_are_right_with_few_channels() => CheckGrid((n, inner) => [n, 3, inner]);

    [Fact]
    public void Planes_of_every_size_are_right_with_many_channels() => CheckGrid((channels, inner) => [3, channels, inner]);

    private void CheckGrid(Func<int, int, int[]> shapeOf)
    {
        var random = new Random(70);
        var values = new float[2 * 3 * GridEnd * GridEnd];
        for (var i = 0; i < values.Length; i++) values[i] = 3 + (4 * (random.NextSingle() - 0.5f));
        for (var a = 0; a <= GridEnd; a++)
        {
            for (var b = 0; b <= GridEnd; b++)
            {
                var shape = new Shape(shapeOf(a, b));
                if (shape[1] == 0) continue;
                try
                {
                    Check(shape, values, threads: 1 + ((a + b) % 3));
                }
                catch (Xunit.Sdk.FailException failure)
                {
                    Assert.Fail($"{shape}: {failure.Message}");
                }
            }
        }
    }

    // Fused training forward and backward against plain double loops over (outer, channel, inner).
    private void Check(Shape shape, float[] values, int threads)
    {
        var plan = Layout.Of(shape, new NormalizerOptions { NumFeatures = shape[1] });
        var (inner, channels) = (shape.Rank == 2 ? 1 : shape[2], shape[1]);
        var x = values[..shape.Count];
        var dy = values[(values.Length - shape.Count)..];
        var (y, dx) = (new float[shape.Count], new float[shape.Count]);
        var moments = Forward.Train(plan, x, new(null, null, 1e-5, Activation.None), y, Settings(threads));
        var gradients = Backward.Training(plan, x, dy, moments, null, 1e-5, dx, Settings(threads));
        Assert.Equal((long)shape[0] * inner, moments.Count);
        if (shape.Count == 0) return;
        for (var c = 0; c < channels; c++)
        {
            var elements = new int[shape[0] * inner];
            for (var i = 0; i < elements.Length; i++) elements[i] = (((i / inner * channels) + c) * inner) + (i % inner);
            double mean = 0, m2 = 0, dBeta = 0, dGamma = 0;
            foreach (var i in elements) mean += x[i] / (double)elements.Length;
            foreach (var i in elements) m2 += (x[i] - mean) * (x[i] - mean);
            var s = 1 / Math.Sqrt((m2 / elements.Length) + 1e-5);
            foreach (var i in elements) (dBeta, dGamma) = (dBeta + dy[i], dGamma + (dy[i] * (x[i] - mean) * s));
            AssertWithin(1e-12 * 20, mean, moments.Mean[c], "mean");
            AssertWithin(1e-12 * m2, m2, moments.M2[c], "m2");
            AssertWithin(GradientTolerance * 20, dBeta, gradients.DBeta[c], "dβ");
            AssertWithin(GradientTolerance * 20, dGamma, gradients.DGamma[c], "dγ");
            double error = 0, norm = 0, terms = 0;
            foreach (var i in elements)
            {
                var normalized = (x[i] - mean) * s;
                AssertWithin((OutputTolerance * Math.Abs(normalized)) + 1e-13, normalized, y[i], "y");
                var gradient = s * (dy[i] - (dBeta / elements.Length) - (normalized * dGamma / elements.Length));
                error += (gradient - dx[i]) * (gradient - dx[i]);
                norm += gradient * gradient;
                terms += s * s * dy[i] * dy[i];
            }
            // Two values are always ±1 normalized, and their gradient cancels to what ε leaves: the reference knows it that well.
            AssertWithin((GradientTolerance * Math.Sqrt(norm)) + (1e-13 * Math.Sqrt(terms)), 0, Math.Sqrt(error), "‖error of dx‖");
        }
    }
}
