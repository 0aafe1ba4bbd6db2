namespace BnService.Core.Tests.Expected;

/// <summary>
/// Inputs on which naive code, and frameworks, fail. Each exists in both memory shapes: as [m, 3] and as [2, 3, m / 2], the middle
/// statistic being the hard one and its neighbours harmless.
/// </summary>
internal static class HardBatches
{
    /// <summary>Number of values of the hard statistic.</summary>
    public const int Values = 1030;

    // What a value is, given its place among the values of its statistic and a source of noise.
    private static readonly Dictionary<string, (Func<int, Random, double> Value, double Eps)> Inputs = new()
    {
        ["mean 1,000,000.09 in steps of 0.0625"] = ((_, random) => 1_000_000 + (0.0625 * random.Next(0, 4)), 1e-5),
        ["mean 1,000,000.09 in steps of 0.0625, ε = 0"] = ((_, random) => 1_000_000 + (0.0625 * random.Next(0, 4)), 0),
        ["1.2e10 and its neighbours"] = ((_, random) => 1.2e10 + (1024 * random.Next(-1, 2)), 1e-5),
        ["16,777,215 and above, where floats are 1 and 2 apart"] = ((_, random) => 16_777_215 + random.Next(0, 4), 0),
        ["one neighbour in a thousand equal values"] = ((place, _) => place == 500 ? MathF.BitIncrement(0.1f) : 0.1f, 0),
        ["±1e30"] = ((place, _) => place % 2 == 0 ? 1e30 : -1e30, 1e-5),
        ["±3e38"] = ((place, _) => place % 2 == 0 ? 3e38 : -3e38, 1e-5),
        ["all of float's range"] = ((_, random) => float.MaxValue * ((2 * random.NextDouble()) - 1), 0),
        ["float.MaxValue and its neighbour"] = ((place, _) => place % 3 == 0 ? float.MaxValue : MathF.BitDecrement(float.MaxValue), 0),
        ["-1e31 against 1e38"] = ((_, random) => random.Next(0, 9) == 0 ? 1e38 : -1e31, 0),
        ["eight first values of 1e30, then small ones"] = ((place, random) => place < 8 ? 1e30 : random.NextGaussian(), 1e-5),
        ["eight first values of 1e8, then small ones"] = ((place, random) => place < 8 ? 1e8 : random.NextGaussian(), 0),
        ["one first value of -3e5, then small ones"] = ((place, random) => place == 0 ? -3e5 : 1 + (1e-3 * random.NextGaussian()), 0),
        ["one last value of 1e20"] = ((place, random) => place == Values - 1 ? 1e20 : random.NextGaussian(), 1e-5),
        ["first values that cancel"] = ((place, random) => place < 8 ? (place % 2 == 0 ? 1e12 : -1e12) : 5 + random.NextGaussian(), 1e-5),
        ["ramp"] = ((place, _) => place, 1e-5),
        ["subnormal numbers"] = ((_, random) => random.Next(-9, 10) * (double)float.Epsilon, 0),
        ["subnormal numbers, ε = 1e-5"] = ((_, random) => random.Next(-9, 10) * (double)float.Epsilon, 1e-5),
        ["around the smallest normal number"] = ((_, random) => random.NextGaussian() * 1.2e-38, 0),
        ["1e-30 around 1e-25"] = ((_, random) => 1e-25 + (1e-30 * random.NextGaussian()), 0),
        ["every magnitude"] = ((_, random) => random.NextGaussian() * Math.Pow(10, random.Next(-44, 38)), 1e-5),
        ["values whose mean is one of them but for 1.4e-17"] = ((place, _) => NearItsMean(place), 0),
        ["the same in another order"] = ((place, _) => NearItsMean(UpperFirst(place)), 0),
        ["one -3e38 among 3e38"] = ((place, _) => place == 700 ? -3e38 : 3e38, 0),
    };

    // Without β an output may only be off by a share of itself, however near the mean its input lies. Here it would take sums of more than
    // double precision: an input 4e-4 from the mean makes a y of 5e-15 and double sums of 1e12 leave 1e-17 of doubt in it.
    private static readonly HashSet<string> NeedsBeta = ["first values that cancel"];

    private static readonly Dictionary<string, Lazy<BatchCase>> Known = Make();

    /// <summary>Every input by itself: a value, given its place and a source of noise, and ε.</summary>
    public static IEnumerable<(string Name, Func<int, Random, double> Value, double Eps)> Sources =>
        Inputs.Select(input => (input.Key, input.Value.Value, input.Value.Eps));

    /// <summary>The names of all of them.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>The batch of a name.</summary>
    public static BatchCase Named(string name) => Known[name].Value;

    /// <summary>A batch in which statistic 1 has the given values, and the others noise.</summary>
    public static BatchCase Of(bool columns, int count, double eps, Func<int, Random, double> value, bool hasBeta = true)
    {
        var places = new int[3];
        var layout = new BatchLayout(columns ? [count, 3] : [2, 3, count / 2], HasBeta: hasBeta, Eps: eps);
        return new BatchCase(layout, 17, (statistic, random) =>
            (float)(statistic == 1 ? value(places[1]++, random) : random.NextGaussian() + statistic));
    }

    private static Dictionary<string, Lazy<BatchCase>> Make()
    {
        var known = new Dictionary<string, Lazy<BatchCase>>();
        foreach (var (name, (value, eps)) in Inputs)
        {
            foreach (var columns in new[] { true, false })
            {
                known[$"{name}, {(columns ? "columns" : "runs")}"] = new(() => Of(columns, Values, eps, value));
                if (!NeedsBeta.Contains(name))
                    known[$"{name}, {(columns ? "columns" : "runs")}, no β"] = new(() => Of(columns, Values, eps, value, hasBeta: false));
            }
        }
        return known;
    }

    // The small value first, then the upper ones of all pairs: the shift is not the mean then, and has more digits than a float if let.
    private static int UpperFirst(int place)
    {
        const int pairs = (Values - 4) / 2;
        if (place is 0 or Values - 1) return Values - 1 - place;
        return place < pairs ? 2 * place : place < 2 * pairs ? (2 * (place - pairs)) + 1 : place;
    }

    // Pairs on both sides of t = (float)(4/3), then t itself and three values whose sum is 3·t + 2⁻⁴⁶: the mean misses t by 2⁻⁴⁶/m,
    // which is less than double resolves next to it.
    private static double NearItsMean(int place)
    {
        const float target = 4f / 3;
        var distance = (1 + (place / 2 % 40)) / 64f;
        return place switch
        {
            Values - 4 => target,
            Values - 3 or Values - 2 => 2,
            Values - 1 => MathF.BitIncrement(MathF.ScaleB(1, -23)),
            _ => place % 2 == 0 ? target + distance : target - distance,
        };
    }
}
