using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

// BatchCase normalization with a residual: what is added to a float output is added in float, so that the bits are known.
public abstract partial class KindsContract
{
    private static readonly Lazy<BatchCase[]> ResidualBatches = new(() =>
    [
        .. new BatchLayout[]
        {
            new([9, 5]), new([300, 3]), new([4, 3, 7]), new([2, 17, 33], HasBeta: false), new([3, 7, 7, 20], ChannelAxis: -1),
            new([3, 70_001], Granularity: Granularity.PerActivation), new([3, 9, 70, 40]),
        }.Select((layout, seed) => new BatchCase(layout, seed, (s, random) => (float)((s % 5) + random.NextGaussian()))),
    ]);

    [Fact]
    public void Batch_normalization_adds_a_residual_before_relu_and_gates_after_it()
    {
        foreach (var batch in ResidualBatches.Value)
        {
            var (random, layer) = (new Random(9), new LayerParameters(batch.Gamma, batch.Beta, batch.Eps));
            float[] residual = [.. batch.X.Select(_ => (float)random.NextGaussian())];
            var y = Unset(batch.X.Length);
            var moments = Forward.Train(batch.Plan, batch.X, layer, y, Settings());
            using var map = AffineMap.Of(moments, batch.Gamma, batch.Beta, batch.Eps);
            var sum = new float[y.Length];
            for (var i = 0; i < y.Length; i++) sum[i] = y[i] + residual[i];
            var rectified = Array.ConvertAll(sum, value => value > 0 ? value : 0);
            float[] gated = [.. batch.Dy.Select((g, i) => sum[i] <= 0 ? 0 : g)];
            var relu = layer with { Activation = Activation.Relu };
            foreach (var settings in new[] { Settings(), Settings(7), Streaming(2) })
            {
                Forward.Train(batch.Plan, batch.X, layer, y, settings, residual);
                AssertSameBits(sum, y);
                Forward.Train(batch.Plan, batch.X, relu, y, settings, residual);
                AssertSameBits(rectified, y);
                Forward.Apply(batch.Plan, batch.X, map, Activation.None, y, settings, residual);
                AssertSameBits(sum, y);
                Forward.Apply(batch.Plan, batch.X, map, Activation.Relu, y, settings, residual);
                AssertSameBits(rectified, y);
                Forward.Apply(batch.Plan, batch.X, moments, relu, y, settings, residual);
                AssertSameBits(rectified, y);
                Backward.ThroughRelu(batch.Plan, batch.X, batch.Dy, map, y, settings, residual);
                AssertSameBits(gated, y);
                Backward.ThroughRelu(batch.Plan, batch.X, batch.Dy, moments, relu, y, settings, residual);
                AssertSameBits(gated, y);
            }
            Assert.Throws<ArgumentException>("residual", () =>
                Backward.ThroughRelu(batch.Plan, batch.X, batch.Dy, map, y, Settings(), new float[y.Length - 1]));
        }
    }
}
