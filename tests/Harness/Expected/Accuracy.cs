namespace BnService.Harness;

/// <summary>The tolerances that the service promises.</summary>
public static class Accuracy
{
    private const double Outputs = 4.0 / (1 << 24), Gradients = 2e-6, Statistics = 1e-12;

    /// <summary>y: |Δ| ≤ 4·2⁻²⁴·max(|y|, |γx̂|, |β|) + 1e-45 for each element.</summary>
    public static void Outputs_are(ReferenceOutput expected, Batch x, Batch actual)
    {
        Assert.Equal(x.Shape, actual.Shape);
        for (var i = 0; i < expected.Y.Length; i++)
        {
            var difference = Math.Abs(actual.Data[i] - expected.Y[i]);
            Assert.True(difference <= (Outputs * expected.Scale[i]) + 1e-45, $"y[{i}] is {actual.Data[i]:R}, not {expected.Y[i]:R}");
        }
    }

    /// <summary>dx, dγ, dβ: the norm of the difference relative to the norm.</summary>
    public static void Gradients_are(ReferenceGradients expected, Batch x, Answer answer)
    {
        Input_gradient_is(expected, x, answer.Tensor("dx"));
        if (answer.Has("dgamma")) Vector_is(expected.Dgamma, answer.Numbers("dgamma"), "dgamma");
        if (answer.Has("dbeta")) Vector_is(expected.Dbeta, answer.Numbers("dbeta"), "dbeta");
    }

    /// <summary>dx: the norm of the difference relative to the norm.</summary>
    public static void Input_gradient_is(ReferenceGradients expected, Batch x, Batch dx)
    {
        Assert.Equal(x.Shape, dx.Shape);
        Vector_is(expected.Dx, [.. dx.Data.Select(value => (double)value)], "dx");
    }

    /// <summary>A batch's statistics: the mean relative to the largest |x| of all, the variance relative to itself.</summary>
    public static void Statistics_are(ReferenceStatistics expected, Batch x, double[] mean, double[] variance)
    {
        var largest = x.Data.Length == 0 ? 0 : x.Data.Max(value => Math.Abs((double)value));
        Values_are(expected.Mean, mean, largest, "mean");
        Variances_are(expected.Variance, variance);
    }

    /// <summary>What a batch's answer says of its statistics.</summary>
    public static void Batch_statistics_are(ReferenceStatistics expected, Batch x, Answer answer)
    {
        Statistics_are(expected, x, answer.Numbers("batch_mean"), answer.Numbers("batch_var"));
        Assert.Equal(expected.Count, answer["count"].GetInt64());
    }

    /// <summary>What a session's stats say of its running statistics, after batches that look like this one.</summary>
    public static void Running_statistics_are(ReferenceStatistics expected, Batch x, Answer stats) =>
        Statistics_are(expected, x, stats.Numbers("running_mean"), stats.Numbers("running_var"));

    /// <summary>Numbers that follow from others by a few operations in double.</summary>
    public static void Doubles_are(double[] expected, double[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= Statistics * Math.Abs(expected[i]), $"{what}[{i}] is {actual[i]:R}, not {expected[i]:R}");
    }

    /// <summary>Any gradient: the norm of the difference relative to the norm.</summary>
    public static void Vector_is(double[] expected, double[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        var difference = Norm(expected.Zip(actual, (a, b) => a - b));
        Assert.True(difference <= Gradients * Norm(expected), $"{what} is off by {difference:R}, its norm is {Norm(expected):R}");
    }

    private static void Variances_are(double[] expected, double[] actual) => Doubles_are(expected, actual, "variance");

    private static void Values_are(double[] expected, double[] actual, double relativeTo, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= Statistics * relativeTo, $"{what}[{i}] is {actual[i]:R}, not {expected[i]:R}");
    }

    private static double Norm(IEnumerable<double> values) => Math.Sqrt(values.Sum(value => value * value));
}
