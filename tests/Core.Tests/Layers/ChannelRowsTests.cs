using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Layers;

/// <summary>Layer and RMS normalization over the channels of positions: against the definition, and bit for bit against transposed rows.</summary>
public sealed class ChannelRowsTests
{
    private static readonly int[][] Shapes =
    [
        [5, 7], [2, 3, 4], [2, 8, 5, 3], [1, 1, 6], [3, 33, 1, 1], [2, 70, 3, 7], [1, 17, 2, 3, 5], [2, 6, 1, 5, 9], [1, 96, 5],
        // Cut into several items; too large for exact arithmetic.
        [4, 96, 40], [1, 3, 300, 250], [1, 2000, 70],
    ];

    private const int SmallShapes = 9;

    private static readonly VectorWidth[] Widths = [VectorWidth.Scalar, VectorWidth.Bits128, VectorWidth.Bits256, VectorWidth.Bits512];

    /// <summary>With and without parameters, of both kinds and every shape.</summary>
    public static TheoryData<NormalizerKind, int> Cases => CasesOf(Shapes.Length);

    /// <summary>Those whose exact output is known.</summary>
    public static TheoryData<NormalizerKind, int> SmallCases => CasesOf(SmallShapes);

    [Theory]
    [MemberData(nameof(SmallCases))]
    public void Outputs_and_gradients_match_the_definition_at_every_width(NormalizerKind kind, int shape)
    {
        var @case = CaseOf(kind, shape);
        foreach (var width in Widths)
        {
            var pass = PassOf(@case, Activation.None, width, threads: 2);
            var (y, dx) = (Unset(@case), Unset(@case));
            var statistics = pass.MeasureAndWrite(@case.X, default, y);
            Assert.Equal((@case.Reference.Statistics, @case.Reference.Count), (statistics.Moments.Channels, (int)statistics.Moments.Count));
            for (var s = 0; s < @case.Reference.Statistics; s++)
                AssertWithin(1e-12 * Math.Max(@case.Moments.Variance[s], 1e-300), @case.Moments.Variance[s], statistics.Moments.Variance(false)[s], $"variance[{s}]");
            @case.Output(withResidual: false).AssertNear(y, relu: false);
            var gradients = pass.Gradients(@case.X, @case.Dy, statistics, default, dx, default);
            AssertNear(@case.Gradients.Dx, BatchCase.Widened(dx), 1e-14 * Norm(BatchCase.Widened(@case.Dy)), "dx");
            AssertNear(@case.Gradients.DGamma, gradients.DGamma, 1e-14 * Norm(BatchCase.Widened(@case.Dy)), "dγ");
            AssertNear(@case.Gradients.DBeta, gradients.DBeta, 1e-14 * Norm(BatchCase.Widened(@case.Dy)), "dβ");
        }
    }

    /// <summary>The same numbers, whichever way they lie: also with a residual and relu, in parts, and on any number of threads.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void The_bits_are_those_of_a_batch_whose_channels_come_last(NormalizerKind kind, int shape)
    {
        var @case = CaseOf(kind, shape);
        var trailing = @case.Layout.Options with { IsOverChannels = false };
        foreach (var (activation, hasResidual) in ((Activation, bool)[])[(Activation.None, false), (Activation.Relu, false), (Activation.None, true), (Activation.Relu, true)])
        {
            var last = Batch.Of(LayerOf(@case, trailing with { Activation = activation }), PositionRows.Of(new(@case.Layout.Shape)), new(VectorWidth.Bits256, 1));
            var (y, dx, dresidual) = (Unset(@case), Unset(@case), Unset(@case));
            var residual = hasResidual ? Last(@case, @case.Residual) : [];
            var statistics = last.MeasureAndWrite(Last(@case, @case.X), residual, y);
            var gradients = last.Gradients(Last(@case, @case.X), Last(@case, @case.Dy), statistics, residual, dx, hasResidual ? dresidual : []);
            foreach (var threads in (int[])[1, 3])
            {
                var pass = PassOf(@case, activation, VectorWidth.Bits256, threads);
                var (own, added) = (Unset(@case), hasResidual ? @case.Residual : []);
                Assert.Equal(statistics.Moments.Mean, pass.MeasureAndWrite(@case.X, added, own).Moments.Mean);
                Assert.Equal(y, Last(@case, own));
                Array.Fill(own, float.NaN);
                pass.Write(@case.X, pass.Measure(@case.X, null), added, own);
                Assert.Equal(y, Last(@case, own));
                var (ownDx, ownDresidual) = (Unset(@case), Unset(@case));
                var ownGradients = pass.Gradients(@case.X, @case.Dy, statistics, added, ownDx, hasResidual ? ownDresidual : []);
                Assert.Equal(dx, Last(@case, ownDx));
                if (hasResidual) Assert.Equal(dresidual, Last(@case, ownDresidual));
                Assert.Equal((gradients.DGamma, gradients.DBeta), (ownGradients.DGamma, ownGradients.DBeta), BitsOfBoth);
                Array.Fill(own, float.NaN);
                using var output = pass.Output(null);
                for (var start = 0; start < own.Length; start += output.Unit)
                    output.Apply(start, @case.X.AsSpan(start, output.Unit), hasResidual ? added.AsSpan(start, output.Unit) : [], own.AsSpan(start, output.Unit));
                Assert.Equal(y, Last(@case, own));
            }
        }
    }

    [Theory]
    [MemberData(nameof(SmallCases))]
    public void In_float64_all_digits_are_right(NormalizerKind kind, int shape)
    {
        var @case = CaseOf(kind, shape);
        var (x, dy) = (BatchCase.Widened(@case.X), BatchCase.Widened(@case.Dy));
        var pass = PassOf(@case, Activation.None, VectorWidth.Bits256, threads: 2);
        var (y, dx) = (new double[x.Length], new double[x.Length]);
        var gradients = pass.Gradients(x, dy, pass.MeasureAndWrite(x, default, y), default, dx, default);
        Near(@case.Reference.Output(x, @case.Gamma, @case.Beta, @case.Eps), y);
        Near(@case.Gradients.Dx, dx);
        Near(@case.Gradients.DGamma, gradients.DGamma);
    }

    [Theory]
    [InlineData(new[] { 0, 3, 2 })]
    [InlineData(new[] { 2, 3, 0 })]
    public void An_empty_batch_has_no_rows(int[] shape)
    {
        var options = new KindLayout(NormalizerKind.LayerNorm, shape, OverChannels: true).Options.Validated();
        var pass = Batch.Of(LayerState.Create(options), new Shape(shape), new(VectorWidth.Bits256, 1));
        Assert.Equal(0, pass.MeasureAndWrite(default, default, default).Moments.Channels);
    }

    [Fact]
    public void A_batch_of_other_channels_and_a_row_of_two_dimensions_are_refused()
    {
        var options = new KindLayout(NormalizerKind.LayerNorm, [2, 3, 4], OverChannels: true).Options;
        var fit = Assert.Throws<LayerException>(() => Layout.Of(new Shape(2, 4, 3), options));
        Assert.Equal((LayerError.ShapeMismatch, "x: expected 3 channels (normalized_shape) along axis 1 (channel_axis), got 4 in input of shape [2, 4, 3]"), (fit.Error, fit.Message));
        var row = Assert.Throws<LayerException>(() => (options with { NormalizedShape = [3, 4] }).Validated());
        Assert.Contains("normalized_shape must be one dimension", row.Message, StringComparison.Ordinal);
    }

    private static TheoryData<NormalizerKind, int> CasesOf(int shapes)
    {
        var cases = new TheoryData<NormalizerKind, int>();
        foreach (var kind in (NormalizerKind[])[NormalizerKind.LayerNorm, NormalizerKind.RmsNorm])
            for (var shape = 0; shape < shapes; shape++) cases.Add(kind, shape);
        return cases;
    }

    // As near as the reference knows it, and nearer than float32 can be.
    private static void Near(double[] expected, double[] actual)
    {
        for (var i = 0; i < expected.Length; i++) AssertWithin(1e-9 * Math.Max(1, Math.Abs(expected[i])), expected[i], actual[i], $"[{i}]");
    }

    private static bool BitsOfBoth((double[] Gamma, double[] Beta) a, (double[] Gamma, double[] Beta) b) =>
        a.Gamma.AsSpan().SequenceEqual(b.Gamma) && a.Beta.AsSpan().SequenceEqual(b.Beta);

    private static KindCase CaseOf(NormalizerKind kind, int shape) => KindCatalog.Typical(
        new(kind, Shapes[shape], OverChannels: true, HasGamma: shape % 3 != 2, HasBeta: kind == NormalizerKind.LayerNorm && shape % 3 == 0), seed: shape);

    private static LayerState LayerOf(KindCase @case, NormalizerOptions options) => LayerState.Create(options.Validated()) with { Gamma = @case.Gamma, Beta = @case.Beta };

    private static Batch PassOf(KindCase @case, Activation activation, VectorWidth width, int threads) =>
        Batch.Of(LayerOf(@case, @case.Layout.Options with { Activation = activation }), new Shape(@case.Layout.Shape), new(width, threads));

    // Channels last, by index arithmetic alone.
    private static float[] Last(KindCase @case, float[] values)
    {
        var (channels, positions) = (@case.Layout.Shape[1], @case.Layout.Shape[2..].Aggregate(1, (product, d) => product * d));
        var last = new float[values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            var (sample, channel, position) = (i / (channels * positions), i / positions % channels, i % positions);
            last[(((sample * positions) + position) * channels) + channel] = values[i];
        }
        return last;
    }

    private static float[] Unset(KindCase @case)
    {
        var values = new float[@case.X.Length];
        Array.Fill(values, float.NaN);
        return values;
    }
}
