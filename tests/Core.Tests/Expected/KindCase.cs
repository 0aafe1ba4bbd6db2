using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Expected;

/// <summary>What is normalized how.</summary>
/// <param name="Kind">A kind whose statistics are not over the batch.</param>
/// <param name="Shape">The tensor's shape.</param>
/// <param name="ChannelAxis">1 or −1, where there are channels.</param>
/// <param name="Groups">Number of groups, for group normalization.</param>
/// <param name="Trailing">Number of dimensions of a row, for kinds over rows.</param>
/// <param name="OverChannels">Whether a row is the channels of a position, along axis 1.</param>
/// <param name="HasGamma">Whether there is a γ.</param>
/// <param name="HasBeta">Whether there is a β.</param>
/// <param name="Eps">ε.</param>
internal sealed record KindLayout(
    NormalizerKind Kind, int[] Shape, int ChannelAxis = 1, int Groups = 1, int Trailing = 1, bool OverChannels = false,
    bool HasGamma = true, bool HasBeta = true, double Eps = 1e-5)
{
    public bool IsOverRows => Kind is NormalizerKind.LayerNorm or NormalizerKind.RmsNorm;

    public NormalizerOptions Options => new()
    {
        Kind = Kind,
        NumFeatures = OverChannels ? Shape[1] : IsOverRows ? Shape[^Trailing..].Aggregate(1, (product, d) => product * d) : Shape[ChannelAxis == 1 ? 1 : ^1],
        NormalizedShape = OverChannels ? [Shape[1]] : IsOverRows ? Shape[^Trailing..] : null,
        NumGroups = Kind == NormalizerKind.GroupNorm ? Groups : null,
        ChannelAxis = ChannelAxis,
        IsOverChannels = OverChannels,
        TrackRunningStats = false,
        Eps = Eps,
    };

    public override string ToString() =>
        $"{Kind} [{string.Join(", ", Shape)}]{(OverChannels ? " over channels" : IsOverRows ? $" last {Trailing}" : ChannelAxis == 1 ? "" : " channels last")}" +
        $"{(Kind == NormalizerKind.GroupNorm ? $" G={Groups}" : "")}{(HasGamma ? " γ" : "")}{(HasBeta ? " β" : "")} ε={Eps:R}";
}

/// <summary>A tensor with everything that it is normalized with, and what must come out: computed when first asked for, for all widths.</summary>
internal sealed class KindCase
{
    private readonly Lazy<ExactStatistic[]> _statistics;
    private readonly Lazy<KindOutput> _output, _withResidual;
    private readonly Lazy<ReferenceGradients> _gradients;
    private readonly Lazy<(double[] Mean, double[] Variance)> _moments;
    private readonly Lazy<double[]> _normalized;

    /// <param name="layout">The layout.</param>
    /// <param name="seed">Of all numbers.</param>
    /// <param name="value">A value, given its statistic, its place among the statistic's values and a source of noise.</param>
    public KindCase(KindLayout layout, int seed, Func<int, int, Random, double> value)
    {
        Layout = layout;
        Reference = new KindReference(layout);
        Plan = Normalizers.Layout.Of(new Shape(layout.Shape), layout.Options.Validated());
        var random = new Random(seed);
        X = new float[Plan.Elements];
        for (var s = 0; s < Reference.Statistics; s++)
        {
            for (var place = 0; place < Reference.Count; place++) X[Reference.Members[s][place]] = (float)value(s, place, random);
        }
        Dy = [.. X.Select(_ => (float)random.NextGaussian())];
        Residual = [.. X.Select(_ => (float)random.NextGaussian())];
        var parameters = Enumerable.Range(0, Reference.Parameters).ToArray();
        Gamma = layout.HasGamma ? [.. parameters.Select(_ => (random.NextDouble() * 4) - 2)] : null;
        Beta = layout.HasBeta ? [.. parameters.Select(_ => random.NextGaussian())] : null;
        _statistics = new(() => Array.ConvertAll(
            Reference.Members, m => ExactStatistic.Of(Array.ConvertAll(m, i => X[i]), layout.Kind != NormalizerKind.RmsNorm)));
        _output = new(() => new KindOutput(this, null));
        _withResidual = new(() => new KindOutput(this, Residual));
        _moments = new(() => Reference.Moments(BatchCase.Widened(X)));
        _normalized = new(() => Reference.Normalize(BatchCase.Widened(X), Eps));
        _gradients = new(() => Reference.Gradients(BatchCase.Widened(X), BatchCase.Widened(Dy), Gamma, Eps));
    }

    public KindLayout Layout { get; }

    public KindReference Reference { get; }

    public Layout Plan { get; }

    public double Eps => Layout.Eps;

    public float[] X { get; }

    public float[] Dy { get; }

    public float[] Residual { get; }

    public double[]? Gamma { get; init; }

    public double[]? Beta { get; init; }

    public ExactStatistic[] Statistics => _statistics.Value;

    public ReferenceGradients Gradients => _gradients.Value;

    /// <summary>Mean and variance to double precision, and x̂ with them.</summary>
    public (double[] Mean, double[] Variance) Moments => _moments.Value;

    public double[] Normalized => _normalized.Value;

    /// <summary>The exact output, with the residual or without.</summary>
    public KindOutput Output(bool withResidual) => withResidual ? _withResidual.Value : _output.Value;

    public LayerParameters Parameters(Activation activation = Activation.None) => new(Gamma, Beta, Eps, activation);

    public override string ToString() => Layout.ToString();
}

/// <summary>
/// Exact outputs, each as an unevaluated sum of two doubles, and how far from them an output may lie:
/// 4·2⁻²⁴·max(|y|, |γx̂|, |β|) + 1e-45, and |γ|·1e-45 more where γ belongs to the position: x̂ is a float there before γ multiplies
/// it, and may be subnormal. With a residual r the output is y + r, and |r| and |y| are in the maximum too: y and r may
/// cancel, and what y was rounded by before they met is then a large part of what is left.
/// </summary>
internal sealed class KindOutput
{
    private readonly double[] _high, _low, _bound;

    public KindOutput(KindCase @case, float[]? residual)
    {
        var (x, reference) = (@case.X, @case.Reference);
        (_high, _low, _bound) = (new double[x.Length], new double[x.Length], new double[x.Length]);
        for (var s = 0; s < reference.Statistics; s++)
        {
            var normalize = @case.Statistics[s].Map(1, 0, @case.Eps);
            foreach (var i in reference.Members[s])
            {
                var (gamma, beta) = (@case.Gamma?[reference.ParameterOf(i)] ?? 1, @case.Beta?[reference.ParameterOf(i)] ?? 0);
                var scaled = normalize(x[i]).Scaled * Dyadic.Of(gamma);
                var y = scaled + Dyadic.Of(beta);
                var output = residual is null ? y : y + Dyadic.Of(residual[i]);
                _high[i] = output.ToDouble();
                _low[i] = (output - Dyadic.Of(_high[i])).ToDouble();
                double[] sizes = [_high[i], y.ToDouble(), scaled.ToDouble(), beta, residual?[i] ?? 0];
                var subnormal = @case.Layout.IsOverRows ? 1e-45 * (1 + Math.Abs(gamma)) : 1e-45;
                _bound[i] = (4 * Math.ScaleB(1, -24) * sizes.Max(Math.Abs)) + subnormal;
            }
        }
    }

    /// <summary>The exact output, as near as double shows it.</summary>
    public double this[int element] => _high[element];

    /// <summary>Asserts that no element is farther off than allowed.</summary>
    public void AssertNear(float[] y, bool relu)
    {
        Assert.Equal(_high.Length, y.Length);
        for (var i = 0; i < y.Length; i++)
        {
            var error = relu && _high[i] <= 0 ? Math.Abs(y[i]) : Math.Abs(y[i] - _high[i] - _low[i]);
            // Past float's range the right answer is the infinity that it rounds to.
            if (float.IsInfinity(y[i]) && (float)_high[i] == y[i] && !(relu && _high[i] <= 0)) error = 0;
            if (!(error <= _bound[i]))
                Assert.Fail($"y[{i}] is {error / _bound[i]:G4} times as far off as allowed: got {y[i]:R}, exact is {_high[i]:R}");
        }
    }
}
