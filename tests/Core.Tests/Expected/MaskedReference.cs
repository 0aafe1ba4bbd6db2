namespace BnService.Core.Tests.Expected;

/// <summary>
/// BatchCase normalization of which only some samples make the statistics, in double over index arithmetic: dx = γ·s·[g − dβ/m − x̂·dγ/m] for
/// valid samples and γ·s·g for masked ones, dβ = Σg and dγ = Σg·x̂ over all samples, m the number of valid values.
/// </summary>
internal sealed class MaskedReference
{
    private readonly BatchCase _batch;
    private readonly Func<int, bool> _isValid;
    private readonly double[] _scale;

    /// <param name="batch">The batch.</param>
    /// <param name="isValid">Whether a sample is valid.</param>
    public MaskedReference(BatchCase batch, Func<int, bool> isValid)
    {
        (_batch, _isValid) = (batch, isValid);
        var valid = Array.ConvertAll(batch.Members, members => Array.FindAll(members, IsValid));
        Count = valid[0].Length;
        Mean = Array.ConvertAll(valid, members => members.Average(i => (double)batch.X[i]));
        Variance = [.. valid.Select((members, s) => members.Average(i => (batch.X[i] - Mean[s]) * (batch.X[i] - Mean[s])))];
        _scale = Array.ConvertAll(Variance, v => 1 / Math.Sqrt(v + batch.Eps));
    }

    /// <summary>m, the number of valid values of each statistic.</summary>
    public int Count { get; }

    /// <summary>The mean of the valid values.</summary>
    public double[] Mean { get; }

    /// <summary>The biased variance of the valid values.</summary>
    public double[] Variance { get; }

    /// <summary>Whether an element belongs to a valid sample.</summary>
    public bool IsValid(int element) => _isValid(element / (_batch.X.Length / _batch.Layout.Shape[0]));

    /// <summary>x̂ of an element.</summary>
    public double Normalized(int element)
    {
        var s = _batch.Reference.StatisticOf(element);
        return (_batch.X[element] - Mean[s]) * _scale[s];
    }

    /// <summary>The gradients of the whole batch.</summary>
    public ReferenceGradients Gradients(float[] dy)
    {
        var (dGamma, dBeta) = ParameterGradients(dy, Enumerable.Range(0, dy.Length));
        var dx = new double[dy.Length];
        for (var i = 0; i < dx.Length; i++)
        {
            var s = _batch.Reference.StatisticOf(i);
            var through = IsValid(i) ? (dBeta[s] / Count) + (Normalized(i) * dGamma[s] / Count) : 0;
            dx[i] = (_batch.Gamma?[s] ?? 1) * _scale[s] * (dy[i] - through);
        }
        return new ReferenceGradients(dx, dGamma, dBeta);
    }

    /// <summary>dγ and dβ of some elements.</summary>
    public (double[] DGamma, double[] DBeta) ParameterGradients(float[] dy, IEnumerable<int> elements)
    {
        var (dGamma, dBeta) = (new double[Mean.Length], new double[Mean.Length]);
        foreach (var i in elements)
        {
            var s = _batch.Reference.StatisticOf(i);
            dBeta[s] += dy[i];
            dGamma[s] += dy[i] * Normalized(i);
        }
        return (dGamma, dBeta);
    }
}
