namespace BnService.Bench.Cases;

/// <summary>The tensors and parameters of one case, which all contenders of this process share.</summary>
internal sealed unsafe class CaseData : IDisposable
{
    /// <summary>ε.</summary>
    public const double Eps = 1e-5;

    private readonly FloatMemory[] _x, _dy, _result;
    private readonly FloatMemory _statistics, _parameters;

    /// <summary>Fills the tensors: x uniform in [−1, 3), dy in [−0.5, 0.5), the same numbers in every run.</summary>
    public CaseData(BenchCase benchCase)
    {
        Case = benchCase;
        (_x, _dy, _result) = (Tensors(), Tensors(), Tensors());
        for (var set = 0; set < benchCase.Sets; set++)
        {
            Fill(_x[set].Pointer, (uint)(2 * set) + 1, 4, -1);
            Fill(_dy[set].Pointer, (uint)(2 * set) + 2, 1, -0.5f);
        }
        var channels = benchCase.C;
        // What the peers are given as float must be the same numbers in double.
        Gamma = [.. Enumerable.Range(0, channels).Select(c => (double)(1 + (c * 0.001f)))];
        Beta = [.. Enumerable.Range(0, channels).Select(c => (double)(c % 7 * 0.1f))];
        RunningMean = [.. Enumerable.Repeat(1.0, channels)];
        RunningVariance = [.. Enumerable.Repeat(1.3125, channels)];
        Reference = new Reference(this);
        _parameters = new FloatMemory(2 * channels);
        _statistics = new FloatMemory(4 * channels);
        for (var c = 0; c < channels; c++)
        {
            (Parameters[c], Parameters[channels + c]) = ((float)Gamma[c], (float)Beta[c]);
            (RunningStatistics[c], RunningStatistics[channels + c]) = ((float)RunningMean[c], (float)RunningVariance[c]);
            (BatchStatistics[c], BatchStatistics[channels + c]) = ((float)Reference.Mean[c], (float)Reference.Variance[c]);
        }
    }

    public BenchCase Case { get; }

    public double[] Gamma { get; }

    public double[] Beta { get; }

    public double[] RunningMean { get; }

    public double[] RunningVariance { get; }

    /// <summary>The right results for the first set.</summary>
    public Reference Reference { get; }

    /// <summary>Gamma, then beta.</summary>
    public float* Parameters => _parameters.Pointer;

    /// <summary>Running mean, then running variance.</summary>
    public float* RunningStatistics => _statistics.Pointer;

    /// <summary>Mean and biased variance of the first set.</summary>
    public float* BatchStatistics => _statistics.Pointer + (2 * Case.C);

    public float* X(int set) => _x[set].Pointer;

    public float* Dy(int set) => _dy[set].Pointer;

    public float* Result(int set) => _result[set].Pointer;

    /// <summary>Makes the first result NaN, so that what stands there after a call is the call's.</summary>
    public void SpoilResult() => new Span<float>(Result(0), Case.Count).Fill(float.NaN);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var memory in (FloatMemory[])[.. _x, .. _dy, .. _result, _parameters, _statistics]) memory.Dispose();
    }

    private FloatMemory[] Tensors() => [.. Enumerable.Range(0, Case.Sets).Select(_ => new FloatMemory(Case.Capacity))];

    // xorshift32: good enough for numbers that are only summed, and a few milliseconds for millions of them.
    private void Fill(float* values, uint seed, float range, float lowest)
    {
        var state = seed * 0x9E3779B9u;
        for (var i = 0; i < Case.Count; i++)
        {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            values[i] = ((state >> 8) * (range / (1 << 24))) + lowest;
        }
    }
}
