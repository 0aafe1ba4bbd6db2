namespace BnService.Core.Normalizers;

/// <summary>
/// What the gradient by x needs of every part of a batch whose parts lie on several ranks (synchronized batch normalization): Σg and
/// Σg·(x − μ) of each statistic, in double, with the mean μ of all parts together. Sums of parts add up to those of the whole; added in
/// one order they have the same bits everywhere. Immutable: the arrays are taken over and never written.
/// </summary>
public sealed class GradientSums
{
    /// <summary>Sums of <paramref name="sumDy"/>.Length statistics.</summary>
    /// <param name="sumDy">Σg of each statistic.</param>
    /// <param name="sumDyXmu">Σg·(x − μ) of each statistic.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public GradientSums(double[] sumDy, double[] sumDyXmu)
    {
        ArgumentNullException.ThrowIfNull(sumDy);
        ArgumentNullException.ThrowIfNull(sumDyXmu);
        if (sumDyXmu.Length != sumDy.Length) throw new ArgumentException("the numbers of statistics differ", nameof(sumDyXmu));
        (SumDy, SumDyXmu) = (sumDy, sumDyXmu);
    }

    /// <summary>Σg of each statistic: dβ of what was summed.</summary>
    public double[] SumDy { get; }

    /// <summary>Σg·(x − μ) of each statistic: dγ of what was summed, but for s = 1/√(σ² + ε).</summary>
    public double[] SumDyXmu { get; }

    /// <summary>Number of statistics.</summary>
    public int Statistics => SumDy.Length;

    /// <summary>The sums of no elements.</summary>
    /// <param name="statistics">Number of statistics.</param>
    public static GradientSums Empty(int statistics) => new(new double[statistics], new double[statistics]);

    /// <summary>The sums of this part and another one together.</summary>
    /// <param name="other">Sums of the same statistics.</param>
    /// <exception cref="ArgumentException">The numbers of statistics differ.</exception>
    public GradientSums Plus(GradientSums other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.Statistics != Statistics) throw new ArgumentException("the numbers of statistics differ", nameof(other));
        return new([.. SumDy.Zip(other.SumDy, (a, b) => a + b)], [.. SumDyXmu.Zip(other.SumDyXmu, (a, b) => a + b)]);
    }
}

/// <summary>The gradients of gamma and beta, one value per parameter.</summary>
/// <param name="DGamma">dγ = Σg·x̂.</param>
/// <param name="DBeta">dβ = Σg.</param>
public sealed record ParameterGradients(double[] DGamma, double[] DBeta)
{
    internal static ParameterGradients OfLength(int length) => new(new double[length], new double[length]);

    /// <summary>The sum of two sets of gradients, of parts of a batch.</summary>
    /// <param name="other">Gradients of the same parameters.</param>
    public ParameterGradients Plus(ParameterGradients other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new([.. DGamma.Zip(other.DGamma, (a, b) => a + b)], [.. DBeta.Zip(other.DBeta, (a, b) => a + b)]);
    }
}
