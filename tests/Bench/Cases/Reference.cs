namespace BnService.Bench.Cases;

/// <summary>How far a result is from the right one.</summary>
/// <param name="ShareOfBound">
/// The worst |Δy| / (4·2⁻²⁴·max(|y|, |γx̂|, |β|) + 1e-45): at most 1 where the accuracy that we promise is kept.
/// </param>
/// <param name="InNorm">‖Δ‖ / ‖right‖.</param>
internal readonly record struct Deviation(double ShareOfBound, double InNorm);

/// <summary>The right results, in double and in the plainest way: two passes for the variance, formulas as in the textbooks.</summary>
internal sealed unsafe class Reference
{
    private const double OutputBound = 4.0 / (1 << 24);
    private const double GradientBound = 2e-6;
    private const double PeerBound = 1e-3;
    private const double CloseBound = 1e-5;

    private readonly CaseData _data;
    private readonly BenchCase _case;

    public Reference(CaseData data)
    {
        (_data, _case) = (data, data.Case);
        var channels = _case.C;
        double m = _case.ValuesPerChannel;
        float* x = data.X(0), dy = data.Dy(0);
        Mean = new double[channels];
        Variance = new double[channels];
        DGamma = new double[channels];
        DBeta = new double[channels];
        Sum(Mean, (c, i) => x[i]);
        Divide(Mean, m);
        Sum(Variance, (c, i) => (x[i] - Mean[c]) * (x[i] - Mean[c]));
        Divide(Variance, m);
        Sum(DBeta, (c, i) => dy[i]);
        Sum(DGamma, (c, i) => dy[i] * (x[i] - Mean[c]));
        for (var c = 0; c < channels; c++) DGamma[c] *= InverseDeviation(Variance[c]);
    }

    /// <summary>Mean of each channel of the first set.</summary>
    public double[] Mean { get; }

    /// <summary>Biased variance of each channel of the first set.</summary>
    public double[] Variance { get; }

    /// <summary>dγ of the first set.</summary>
    public double[] DGamma { get; }

    /// <summary>dβ of the first set.</summary>
    public double[] DBeta { get; }

    /// <summary>Why <paramref name="result"/> is not good enough for us; null where it is.</summary>
    public string? Flaw(Operation operation, float* result)
    {
        var deviation = Compare(operation, result);
        if (operation == Operation.Backward)
            return deviation.InNorm <= GradientBound ? null : $"dx is off by {deviation.InNorm:E1} in norm, {GradientBound:E0} is allowed";
        return deviation.ShareOfBound <= 1 ? null : $"y is off by {deviation.ShareOfBound:G3} times what is allowed";
    }

    /// <summary>Why our gradients of gamma and beta are not good enough; null where they are.</summary>
    public string? Flaw(double[] dGamma, double[] dBeta)
    {
        var worst = Math.Max(InNorm(dGamma, DGamma), InNorm(dBeta, DBeta));
        return worst <= GradientBound ? null : $"dgamma or dbeta is off by {worst:E1} in norm, {GradientBound:E0} is allowed";
    }

    /// <summary>Why <paramref name="result"/> cannot be what the peer was asked for; null where it can.</summary>
    public string? PeerFlaw(Operation operation, float* result) => FlawInNorm(operation, result, PeerBound);

    /// <summary>The same for a peer that computes in float throughout what it is asked for, without shortcuts.</summary>
    public string? CloseFlaw(Operation operation, float* result) => FlawInNorm(operation, result, CloseBound);

    private string? FlawInNorm(Operation operation, float* result, double bound)
    {
        var deviation = Compare(operation, result);
        return deviation.InNorm <= bound ? null : $"its result is off by {deviation.InNorm:E1} in norm: it is misused";
    }

    private Deviation Compare(Operation operation, float* result)
    {
        var (worst, difference, norm) = (0.0, 0.0, 0.0);
        ChannelTerms[] ofChannel = [.. Enumerable.Range(0, _case.C).Select(c => new ChannelTerms(this, operation, c))];
        for (var o = 0; o < _case.Outer; o++)
        {
            for (var c = 0; c < _case.C; c++)
            {
                var start = (((nint)o * _case.C) + c) * _case.Inner;
                ref readonly var terms = ref ofChannel[c];
                for (nint i = start; i < start + _case.Inner; i++)
                {
                    var (right, bound) = terms.Right(_data.X(0)[i], _data.Dy(0)[i]);
                    var delta = Math.Abs(result[i] - right);
                    // NaN would lose every comparison that asks for more.
                    if (!(delta <= worst * bound)) worst = double.IsNaN(delta) ? double.PositiveInfinity : delta / bound;
                    difference += delta * delta;
                    norm += right * right;
                }
            }
        }
        return new Deviation(worst, Math.Sqrt(difference / norm));
    }

    private void Sum(double[] sums, Func<int, nint, double> term)
    {
        for (var o = 0; o < _case.Outer; o++)
        {
            for (var c = 0; c < _case.C; c++)
            {
                var start = (((nint)o * _case.C) + c) * _case.Inner;
                var sum = 0.0;
                for (nint i = start; i < start + _case.Inner; i++) sum += term(c, i);
                sums[c] += sum;
            }
        }
    }

    private static void Divide(double[] values, double divisor)
    {
        for (var c = 0; c < values.Length; c++) values[c] /= divisor;
    }

    private static double InverseDeviation(double variance) => 1 / Math.Sqrt(variance + CaseData.Eps);

    private static double InNorm(double[] actual, double[] right)
    {
        var (difference, norm) = (0.0, 0.0);
        for (var c = 0; c < right.Length; c++)
        {
            difference += (actual[c] - right[c]) * (actual[c] - right[c]);
            norm += right[c] * right[c];
        }
        return Math.Sqrt(difference / norm);
    }

    private readonly struct ChannelTerms
    {
        private readonly bool _isBackward;
        private readonly double _mean, _inverse, _gamma, _beta, _meanGradient, _meanProduct;

        public ChannelTerms(Reference reference, Operation operation, int channel)
        {
            var data = reference._data;
            double m = reference._case.ValuesPerChannel;
            var isInference = operation == Operation.Inference;
            _isBackward = operation == Operation.Backward;
            _mean = isInference ? data.RunningMean[channel] : reference.Mean[channel];
            _inverse = InverseDeviation(isInference ? data.RunningVariance[channel] : reference.Variance[channel]);
            (_gamma, _beta) = (data.Gamma[channel], data.Beta[channel]);
            (_meanGradient, _meanProduct) = (reference.DBeta[channel] / m, reference.DGamma[channel] / m);
        }

        public (double Right, double Bound) Right(double x, double dy)
        {
            var normalized = (x - _mean) * _inverse;
            if (_isBackward) return (_gamma * _inverse * (dy - _meanGradient - (normalized * _meanProduct)), 1);
            var scaled = _gamma * normalized;
            var y = scaled + _beta;
            return (y, (OutputBound * Math.Max(Math.Abs(y), Math.Max(Math.Abs(scaled), Math.Abs(_beta)))) + 1e-45);
        }
    }
}
