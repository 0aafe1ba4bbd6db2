namespace BnService.Harness;

/// <summary>One parameter under an optimizer, as the documentation of torch.optim writes the algorithms down.</summary>
public abstract class ReferenceOptimizer
{
    public double LearningRate { get; init; } = 1e-3;

    public double WeightDecay { get; init; }

    /// <summary>The parameter after one more step along its gradient.</summary>
    public abstract double[] After(double[] parameter, double[] gradient);
}

/// <summary>torch.optim.SGD.</summary>
public sealed class ReferenceSgd : ReferenceOptimizer
{
    private double[]? _buffer;

    public double Momentum { get; init; }

    public bool Nesterov { get; init; }

    public override double[] After(double[] parameter, double[] gradient)
    {
        var g = gradient.Zip(parameter, (value, p) => value + (WeightDecay * p)).ToArray();
        _buffer = _buffer is null ? g : [.. _buffer.Zip(g, (b, value) => (Momentum * b) + value)];
        var direction = Momentum == 0 ? g : Nesterov ? g.Zip(_buffer, (value, b) => value + (Momentum * b)) : _buffer;
        return [.. parameter.Zip(direction, (p, d) => p - (LearningRate * d))];
    }
}

/// <summary>torch.optim.Adam, and with decoupled decay torch.optim.AdamW.</summary>
public sealed class ReferenceAdam : ReferenceOptimizer
{
    private double[]? _first;
    private double[]? _second;
    private int _steps;

    public double Beta1 { get; init; } = 0.9;

    public double Beta2 { get; init; } = 0.999;

    public double Eps { get; init; } = 1e-8;

    public bool IsDecoupled { get; init; }

    public override double[] After(double[] parameter, double[] gradient)
    {
        _steps++;
        _first ??= new double[parameter.Length];
        _second ??= new double[parameter.Length];
        var next = new double[parameter.Length];
        for (var i = 0; i < next.Length; i++)
        {
            var p = IsDecoupled ? parameter[i] - (LearningRate * WeightDecay * parameter[i]) : parameter[i];
            var g = IsDecoupled ? gradient[i] : gradient[i] + (WeightDecay * parameter[i]);
            _first[i] = (Beta1 * _first[i]) + ((1 - Beta1) * g);
            _second[i] = (Beta2 * _second[i]) + ((1 - Beta2) * g * g);
            var firstHat = _first[i] / (1 - Math.Pow(Beta1, _steps));
            var secondHat = _second[i] / (1 - Math.Pow(Beta2, _steps));
            next[i] = p - (LearningRate * firstHat / (Math.Sqrt(secondHat) + Eps));
        }
        return next;
    }
}
