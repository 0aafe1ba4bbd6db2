using System.Numerics;

namespace BnService.Core.Tests.Expected;

/// <summary>
/// One statistic in exact arithmetic, as m, S = Σx and W = m·Σx² − S²: then μ = S/m, σ² = W/m² and
/// x̂ = (m·x − S)/√(W + m²·ε), where nothing but the square root is rounded (to 256 bits).
/// </summary>
internal sealed class ExactStatistic
{
    private readonly long _count;
    private readonly Dyadic _sum;
    private readonly Dyadic _spread;

    private ExactStatistic(long count, Dyadic sum, Dyadic spread) => (_count, _sum, _spread) = (count, sum, spread);

    /// <summary>The statistic of some values.</summary>
    public static ExactStatistic Of(IReadOnlyList<float> values) => Of(values, hasMean: true);

    /// <inheritdoc cref="Of(IReadOnlyList{double}, bool)"/>
    public static ExactStatistic Of(IReadOnlyList<float> values, bool hasMean) => Of([.. values.Select(value => (double)value)], hasMean);

    /// <summary>The statistic of some values; without a mean W = m·Σx² and x̂ = m·x/√(W + m²·ε), as the root mean square has it.</summary>
    public static ExactStatistic Of(IReadOnlyList<double> values, bool hasMean)
    {
        var numbers = values.Select(v => Dyadic.Of(v)).Where(n => !n.IsZero).ToArray();
        // One exponent for all makes sums of whole numbers of them.
        var exponent = numbers.Length == 0 ? 0 : numbers.Min(n => n.Exponent);
        BigInteger sum = 0, squares = 0;
        foreach (var number in numbers)
        {
            var whole = number.Mantissa << (number.Exponent - exponent);
            sum += whole;
            squares += whole * whole;
        }
        if (!hasMean) sum = 0;
        return new ExactStatistic(values.Count, new(sum, exponent), new((values.Count * squares) - (sum * sum), 2 * exponent));
    }

    /// <summary>A statistic that is given, as in inference.</summary>
    public static ExactStatistic Of(double mean, double variance) => new(1, Dyadic.Of(mean), Dyadic.Of(variance));

    /// <summary>μ.</summary>
    public double Mean => (_sum / _count).ToDouble();

    /// <summary>σ², biased.</summary>
    public double Variance => (_spread / _count / _count).ToDouble();

    /// <summary>γ·x̂ and γ·x̂ + β for given parameters. With σ² = ε = 0, x̂ is 0.</summary>
    public Func<double, (Dyadic Scaled, Dyadic Y)> Map(double gamma, double beta, double eps)
    {
        var (count, offset) = (Dyadic.Of(_count), Dyadic.Of(beta));
        var total = _spread + (count * count * Dyadic.Of(eps));
        var scale = total.IsZero ? Dyadic.Zero : Dyadic.Of(gamma) * Dyadic.InverseSquareRoot(total);
        return x =>
        {
            var scaled = ((count * Dyadic.Of(x)) - _sum) * scale;
            return (scaled, scaled + offset);
        };
    }
}

/// <summary>
/// Exact outputs of a tensor, each as an unevaluated sum of two doubles, and how far from them an output may lie:
/// 4·2⁻²⁴·max(|y|, |γx̂|, |β|) + 1e-45.
/// </summary>
internal sealed class ExactOutput
{
    private readonly double[] _high, _low, _bound;

    /// <param name="x">The input.</param>
    /// <param name="members">The elements of every statistic.</param>
    /// <param name="statistics">The statistics.</param>
    /// <param name="gamma">γ; null for 1.</param>
    /// <param name="beta">β; null for 0.</param>
    /// <param name="eps">ε.</param>
    public ExactOutput(float[] x, int[][] members, ExactStatistic[] statistics, double[]? gamma, double[]? beta, double eps)
    {
        (_high, _low, _bound) = (new double[x.Length], new double[x.Length], new double[x.Length]);
        for (var s = 0; s < members.Length; s++)
        {
            var map = statistics[s].Map(gamma?[s] ?? 1, beta?[s] ?? 0, eps);
            foreach (var i in members[s])
            {
                var (scaled, y) = map(x[i]);
                _high[i] = y.ToDouble();
                _low[i] = (y - Dyadic.Of(_high[i])).ToDouble();
                var largest = Math.Max(Math.Abs(_high[i]), Math.Max(Math.Abs(scaled.ToDouble()), Math.Abs(beta?[s] ?? 0)));
                _bound[i] = (4 * Math.ScaleB(1, -24) * largest) + 1e-45;
            }
        }
    }

    /// <summary>The largest error in units of what is allowed, and where it is.</summary>
    public (double Share, int Element) Worst(ReadOnlySpan<float> y, bool relu)
    {
        var worst = (Share: 0.0, Element: -1);
        for (var i = 0; i < y.Length; i++)
        {
            var isCut = relu && _high[i] <= 0;
            // Past float's range the right answer is the infinity that it rounds to.
            var error = !isCut && float.IsInfinity(y[i]) && (float)_high[i] == y[i] ? 0
                : isCut ? Math.Abs(y[i]) : Math.Abs(y[i] - _high[i] - _low[i]);
            var share = error / _bound[i];
            if (!(share <= worst.Share)) worst = (share, i);
            if (double.IsNaN(share)) return worst;
        }
        return worst;
    }

    /// <summary>The exact output, as near as double shows it.</summary>
    public double this[int element] => _high[element];
}
