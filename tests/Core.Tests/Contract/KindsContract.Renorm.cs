using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tests.Expected;
using static BnService.Core.Tests.Contract.NormalizationContract;

namespace BnService.Core.Tests.Contract;

// BatchCase renormalization: the plain pass with γ·r and β + γ·d.
public abstract partial class KindsContract
{
    private static readonly Lazy<BatchCase[]> RenormBatches = new(() =>
    [
        .. new BatchLayout[]
        {
            new([40, 6]), new([12, 9], HasGamma: false, HasBeta: false), new([4, 6, 17], HasBeta: false), new([3, 6, 5, 7]),
            new([3, 5, 17, 6], ChannelAxis: -1, HasGamma: false), new([2, 9, 3, 4, 5], Eps: 0), new([600, 130]),
        }.Select((layout, seed) => new BatchCase(layout, seed, (s, random) => (float)(s + ((1 + s) * random.NextGaussian())))),
    ]);

    [Fact]
    public void Renormalized_outputs_match_exact_arithmetic()
    {
        foreach (var batch in RenormBatches.Value)
        {
            var (r, d, renorm) = Renormalized(batch);
            // y = γ·r·x̂ + (β + γ·d): exact with these as parameters, but for what they were rounded by in double.
            var gamma = r.Select((value, c) => value * (batch.Gamma?[c] ?? 1)).ToArray();
            var beta = d.Select((value, c) => (value * (batch.Gamma?[c] ?? 1)) + (batch.Beta?[c] ?? 0)).ToArray();
            foreach (var activation in new[] { Activation.None, Activation.Relu })
            {
                var y = Unset(batch.X.Length);
                var layer = new LayerParameters(renorm.Gamma(batch.Gamma), renorm.Beta(batch.Gamma, batch.Beta), batch.Eps, activation);
                Forward.Train(batch.Plan, batch.X, layer, y, Settings(2));
                var exact = new ExactOutput(batch.X, batch.Members, batch.Statistics, gamma, beta, batch.Eps);
                var (share, element) = exact.Worst(y, activation == Activation.Relu);
                Assert.True(share <= 1, $"{batch.Layout}: y[{element}] is {share:G4} times as far off as allowed");
            }
        }
    }

    [Fact]
    public void Renormalized_gradients_match_the_reference()
    {
        foreach (var batch in RenormBatches.Value)
        {
            var (r, d, renorm) = Renormalized(batch);
            var plain = batch.TrainingGradients;
            var dx = Unset(batch.X.Length);
            var moments = Forward.BatchMoments(batch.Plan, batch.X, Settings());
            var parameters = renorm.Gradients(Backward.Training(
                batch.Plan, batch.X, batch.Dy, moments, renorm.Gamma(batch.Gamma), batch.Eps, dx, Settings(2)));
            // r and d are constants: dx = r·plain dx, and dγ = Σg·x̂ with x̂ = r·plain x̂ + d.
            AssertNear([.. plain.Dx.Select((g, i) => g * r[batch.Reference.StatisticOf(i)])], BatchCase.Widened(dx), 0, $"{batch.Layout}: dx");
            AssertNear([.. plain.DGamma.Select((g, c) => (r[c] * g) + (d[c] * plain.DBeta[c]))], parameters.DGamma, 0, $"{batch.Layout}: dγ");
            AssertNear(plain.DBeta, parameters.DBeta, 0, $"{batch.Layout}: dβ");
        }
    }

    // r = clip(σ_B/σ_r, 1/r_max, r_max) and d = clip((μ_B − μ_r)/σ_r, ±d_max) from the reference's own statistics.
    private (double[] R, double[] D, Renormalization Renorm) Renormalized(BatchCase batch)
    {
        var options = new NormalizerOptions
        {
            Kind = NormalizerKind.BatchRenorm,
            NumFeatures = batch.Reference.Statistics,
            Eps = batch.Eps,
            Renorm = new RenormLimits(2, 0.75, 0),
        };
        // Channels on either side of both limits, and within them.
        var (mean, variance) = batch.Reference.Moments(BatchCase.Widened(batch.X));
        double[] ratios = [1.1, 5, 0.9, 0.1, 2.5, 1], distances = [0.3, -2, 0, 9, -0.5, 0.7];
        var running = new RunningStatistics(
            [.. mean.Select((m, c) => m - (distances[c % 6] * Math.Sqrt(variance[c])))],
            [.. variance.Select((v, c) => v / (ratios[c % 6] * ratios[c % 6]))], 9, false);
        var (r, d) = (new double[mean.Length], new double[mean.Length]);
        for (var c = 0; c < r.Length; c++)
        {
            var deviation = Math.Sqrt(running.Variance[c] + batch.Eps);
            r[c] = Math.Min(Math.Max(Math.Sqrt(variance[c] + batch.Eps) / deviation, 0.5), 2);
            d[c] = Math.Min(Math.Max((mean[c] - running.Mean[c]) / deviation, -0.75), 0.75);
        }
        Assert.True(r.Contains(2) && r.Contains(0.5) && d.Contains(-0.75) && d.Contains(0.75) && r.Any(v => v is > 0.5 and < 2));
        return (r, d, Renormalization.Of(Forward.BatchMoments(batch.Plan, batch.X, Settings()), running, options));
    }
}
