using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Layers;

/// <summary>Every kind and layout in float64: against exact arithmetic, and against the float32 path where the values are float32.</summary>
public sealed class Float64Tests
{
    private static readonly ComputeSettings Compute = ComputeSettings.Default;

    private static readonly NormalizerOptions[] Layers =
    [
        new() { NumFeatures = 3 },
        new() { NumFeatures = 5, ChannelAxis = -1, Activation = Activation.Relu },
        new() { NumFeatures = 3, Granularity = Granularity.PerActivation, Eps = 0 },
        new() { NumFeatures = 3, GhostBatchSize = 2, Activation = Activation.Relu },
        new() { NumFeatures = 3, Kind = NormalizerKind.BatchRenorm, Renorm = new(3, 5, 0) },
        new() { NumFeatures = 3, Mode = NormalizationMode.Frozen, Activation = Activation.Relu },
        new() { NumFeatures = 3, Affine = false },
        new() { NumFeatures = 15, Kind = NormalizerKind.LayerNorm, NormalizedShape = [3, 5], TrackRunningStats = false },
        new() { NumFeatures = 5, Kind = NormalizerKind.RmsNorm, NormalizedShape = [5], TrackRunningStats = false, Bias = false },
        new() { NumFeatures = 3, Kind = NormalizerKind.GroupNorm, NumGroups = 1, TrackRunningStats = false, Activation = Activation.Relu },
        new() { NumFeatures = 3, Kind = NormalizerKind.InstanceNorm },
    ];

    private static readonly KindLayout[] Layouts =
    [
        new(NormalizerKind.LayerNorm, [5, 700]),
        new(NormalizerKind.LayerNorm, [4, 3, 5], Trailing: 2, Eps: 0),
        new(NormalizerKind.LayerNorm, [2, 3, 1]),
        new(NormalizerKind.RmsNorm, [6, 33], HasBeta: false),
        new(NormalizerKind.GroupNorm, [3, 6, 4], Groups: 2),
        new(NormalizerKind.GroupNorm, [3, 5, 6], ChannelAxis: -1, Groups: 3, HasGamma: false),
        new(NormalizerKind.GroupNorm, [4, 6], Groups: 2, HasBeta: false),
        new(NormalizerKind.GroupNorm, [2, 4, 600], Groups: 4),
        new(NormalizerKind.InstanceNorm, [3, 4, 5, 2]),
        new(NormalizerKind.InstanceNorm, [3, 5, 4], ChannelAxis: -1),
        new(NormalizerKind.InstanceNorm, [2, 3, 1100]),
    ];

    public static TheoryData<int, double, double> Cases()
    {
        var cases = new TheoryData<int, double, double>();
        for (var layout = 0; layout < Layouts.Length; layout++)
        {
            // Mean and spread: ordinary, seconds since 1970, what no float32 holds, and what is lost beside it.
            foreach (var (mean, spread) in ((double, double)[])[(0, 1), (1.7e9, 1), (-3e100, 1e99), (1e15, 0.5), (1e-40, 1e-44), (7, 0)])
                cases.Add(layout, mean, spread);
        }
        return cases;
    }

    public static TheoryData<int, bool, bool> LayerCases()
    {
        var cases = new TheoryData<int, bool, bool>();
        for (var layer = 0; layer < Layers.Length; layer++)
        {
            cases.Add(layer, false, false);
            cases.Add(layer, false, true);
            if (Layers[layer].Kind.IsOverBatch && Layers[layer].Mode == NormalizationMode.Train) cases.Add(layer, true, true);
        }
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Statistics_and_output_are_those_of_exact_arithmetic(int layoutIndex, double mean, double spread)
    {
        var layout = Layouts[layoutIndex];
        var (reference, random) = (new KindReference(layout), new Random(layoutIndex));
        var plan = Layout.Of(new Shape(layout.Shape), layout.Options.Validated());
        var x = Values(plan.Elements, _ => mean + (spread * random.NextGaussian()));
        var gamma = layout.HasGamma ? Values(reference.Parameters, _ => random.NextGaussian()) : null;
        var beta = layout.HasBeta ? Values(reference.Parameters, _ => random.NextGaussian()) : null;
        var y = new double[x.Length];
        var moments = Forward.Train(plan, x, new LayerParameters(gamma, beta, layout.Eps), y, Compute);
        var variance = moments.Variance(unbiased: false);
        for (var s = 0; s < reference.Statistics; s++)
        {
            var values = Array.ConvertAll(reference.Members[s], i => x[i]);
            var exact = ExactStatistic.Of(values, layout.Kind != NormalizerKind.RmsNorm);
            if (layout.Kind != NormalizerKind.RmsNorm) Assert.Equal(exact.Mean, moments.Mean[s], 1e-12 * values.Max(Math.Abs));
            Assert.Equal(exact.Variance, variance[s], 1e-12 * exact.Variance);
            var map = exact.Map(1, 0, layout.Eps);
            foreach (var i in reference.Members[s])
            {
                var (g, b) = (gamma?[reference.ParameterOf(i)] ?? 1, beta?[reference.ParameterOf(i)] ?? 0);
                var scaled = map(x[i]).Scaled * Dyadic.Of(g);
                var difference = Math.Abs((scaled + Dyadic.Of(b) - Dyadic.Of(y[i])).ToDouble());
                var largest = Math.Max(Math.Max(Math.Abs(y[i]), Math.Abs(scaled.ToDouble())), Math.Abs(b));
                Assert.True(difference <= 4 * Math.ScaleB(1, -53) * largest, $"{layout}, element {i}: off by {difference / largest:G3} of its size");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Gradients_are_those_of_the_formula_in_double(int layoutIndex, double mean, double spread)
    {
        // The reference is as good as double: it is not asked for where its own mean is not.
        if (mean != 0) (mean, spread) = (mean / Math.Abs(mean), 0.5);
        var layout = Layouts[layoutIndex];
        var (reference, random) = (new KindReference(layout), new Random(layoutIndex));
        var plan = Layout.Of(new Shape(layout.Shape), layout.Options.Validated());
        var x = Values(plan.Elements, _ => mean + (spread * random.NextGaussian()));
        var dy = Values(plan.Elements, _ => random.NextGaussian());
        var gamma = layout.HasGamma ? Values(reference.Parameters, _ => random.NextGaussian()) : null;
        var dx = new double[x.Length];
        var gradients = Backward.Training(plan, x, dy, Forward.BatchMoments(plan, x, Compute), gamma, layout.Eps, dx, Compute);
        var expected = reference.Gradients(x, dy, gamma, layout.Eps);
        AssertNear(expected.Dx, dx, 1e-13);
        AssertNear(expected.DGamma, gradients.DGamma, 1e-13);
        AssertNear(expected.DBeta, gradients.DBeta, 1e-13);
    }

    [Theory]
    [MemberData(nameof(LayerCases))]
    public void A_layer_in_float64_agrees_with_itself_in_float32(int index, bool isMasked, bool withResidual)
    {
        var (options, shape, random) = (Layers[index].Validated(), new Shape(6, 3, 5), new Random(index));
        var mask = isMasked ? BatchMask.OfSamples(true, true, false, true, true, false) : null;
        var x = Values(shape.Count, _ => (double)(float)(2 + random.NextGaussian()));
        var dy = Values(shape.Count, _ => (double)(float)random.NextGaussian());
        var residual = withResidual ? Values(shape.Count, _ => (double)(float)random.NextGaussian()) : null;
        var layer = LayerState.Create(options).SizedFor(Layout.Of(shape, options));
        layer = layer with
        {
            Gamma = layer.Gamma is null ? null : Values(layer.Gamma.Length, _ => 1 + random.NextDouble()),
            Beta = layer.Beta is null ? null : Values(layer.Beta.Length, _ => random.NextDouble()),
            Running = layer.Running is null ? null : new(Values(layer.Features, _ => 2), Values(layer.Features, _ => 0.5 + random.NextDouble()), 3, false),
        };
        var single = Passed(Precision.Float32);
        var twice = Passed(Precision.Float64);
        AssertNear(twice.Y, single.Y, 1e-6);
        AssertNear(twice.Dx, single.Dx, 5e-6);
        AssertNear(twice.Dresidual, single.Dresidual, 1e-6);
        AssertNear(twice.Gradients.DGamma, single.Gradients.DGamma, 5e-6);
        AssertNear(twice.Gradients.DBeta, single.Gradients.DBeta, 5e-6);

        Passes Passed(Precision precision)
        {
            using Tensor input = Of(shape, x, precision), gradient = Of(shape, dy, precision);
            using var added = residual is null ? null : Of(shape, residual, precision);
            using Tensor y = Tensor.Rent(shape, precision), dx = Tensor.Rent(shape, precision), dresidual = Tensor.Rent(shape, precision);
            var pass = Batch.Of(layer, shape, Compute);
            var statistics = layer.NormalizesWithBatch ? pass.Measure(input, mask) : null;
            pass.Write(input, statistics, added, y);
            var gradients = pass.Gradients(input, gradient, statistics, added, dx, added is null ? null : dresidual);
            return new(ValuesOf(y), ValuesOf(dx), added is null ? [] : ValuesOf(dresidual), gradients);
        }
    }

    [Fact]
    public void Parts_of_two_ranks_are_normalized_and_differentiated_as_their_batch_is()
    {
        var (options, random) = (new NormalizerOptions { NumFeatures = 2, Kind = NormalizerKind.BatchRenorm, Renorm = new(3, 5, 0) }, new Random(1));
        var x = Values(16, i => 1.7e9 + i + random.NextDouble());
        var dy = Values(16, _ => random.NextGaussian());
        var layer = LayerState.Create(options);
        var (whole, part) = (Batch.Of(layer, new Shape(8, 2), Compute), Batch.Of(layer, new Shape(4, 2), Compute));
        var statistics = whole.Measure(x, null);
        var (y, dx) = (new double[16], new double[16]);
        whole.Write(x, statistics, default, y);
        var gradients = whole.Gradients(x, dy, statistics, default, dx, default);
        double[][] parts = [x[..8], x[8..]], dys = [dy[..8], dy[8..]];
        var joint = part.Join(Moments.Merge(part.OwnMoments(parts[0], null), part.OwnMoments(parts[1], null)), null);
        var sums = parts.Select((values, rank) => part.SumGradients(values, dys[rank], joint, default, new double[8])).ToArray();
        var total = sums[0].Plus(sums[1]);
        for (var rank = 0; rank < 2; rank++)
        {
            var (ofPart, dxOfPart) = (new double[8], new double[8]);
            part.Write(parts[rank], joint, default, ofPart);
            part.JoinedGradients(parts[rank], dys[rank], joint, sums[rank], total, dxOfPart);
            AssertNear(y[(8 * rank)..(8 * (rank + 1))], ofPart, 1e-12);
            AssertNear(dx[(8 * rank)..(8 * (rank + 1))], dxOfPart, 1e-9);
        }
        AssertNear(gradients.DGamma, part.ParametersOf(joint, total).DGamma, 1e-9);
    }

    [Fact]
    public void Seconds_since_1970_keep_their_variance()
    {
        var layer = LayerState.Create(new NormalizerOptions { NumFeatures = 1, Precision = Precision.Float64 });
        var statistics = Batch.Of(layer, new Shape(4, 1), Compute).Measure(new double[] { 1.7e9, 1700000001, 1700000002, 1700000003 }, null);
        Assert.Equal([1700000001.5], statistics.Moments.Mean);
        Assert.Equal([1.25], statistics.Moments.Variance(unbiased: false));
    }

    private static double[] Values(int count, Func<int, double> value) => [.. Enumerable.Range(0, count).Select(value)];

    private static Tensor Of(Shape shape, double[] values, Precision precision)
    {
        var tensor = Tensor.Rent(shape, precision);
        if (precision == Precision.Float64) values.CopyTo(tensor.Doubles);
        else Array.ConvertAll(values, value => (float)value).CopyTo(tensor.Data);
        return tensor;
    }

    private static double[] ValuesOf(Tensor tensor) =>
        tensor.Precision == Precision.Float64 ? tensor.Doubles.ToArray() : Array.ConvertAll(tensor.Data.ToArray(), value => (double)value);

    // In norm, as gradients are judged.
    private static void AssertNear(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        var difference = Math.Sqrt(expected.Zip(actual, (a, b) => (a - b) * (a - b)).Sum());
        Assert.True(difference <= tolerance * Math.Max(1e-3, Math.Sqrt(expected.Sum(value => value * value))), $"off by {difference:G3}");
    }

    private sealed record Passes(double[] Y, double[] Dx, double[] Dresidual, ParameterGradients Gradients);
}
