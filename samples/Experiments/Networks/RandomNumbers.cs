namespace BnService.Experiments.Networks;

/// <summary>Distributions over a seeded generator.</summary>
public static class RandomNumbers
{
    /// <summary>A number of the standard normal distribution (Box and Muller).</summary>
    public static double NextGaussian(this Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    /// <summary>A number between two bounds.</summary>
    public static double NextBetween(this Random random, double low, double high) => low + (high - low) * random.NextDouble();
}
