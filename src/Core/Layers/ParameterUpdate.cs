using System.Globalization;

namespace BnService.Core.Layers;

/// <summary>How a gradient changes gamma and beta; the rules and defaults are those of <c>torch.optim</c>.</summary>
public sealed record ParameterUpdate
{
    /// <summary>The rule.</summary>
    public required Optimizer Optimizer { get; init; }

    /// <summary>Step size, ≥ 0.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>SGD: weight of the momentum buffer, ≥ 0; 0 for none.</summary>
    public double Momentum { get; init; }

    /// <summary>SGD: Nesterov momentum; needs a momentum above 0.</summary>
    public bool Nesterov { get; init; }

    /// <summary>Adam: weight of the past in the average of the gradient, 0 ≤ β₁ &lt; 1.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Adam: weight of the past in the average of the squared gradient, 0 ≤ β₂ &lt; 1.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Adam: added to the denominator, ≥ 0.</summary>
    public double Eps { get; init; } = 1e-8;

    /// <summary>L2 penalty (SGD, Adam) or decoupled decay (AdamW), ≥ 0.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Checks every number against its range.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/>.</exception>
    public ParameterUpdate Validated()
    {
        RequireNonNegative(LearningRate, "learning_rate");
        RequireNonNegative(Momentum, "momentum");
        RequireNonNegative(Eps, "eps");
        RequireNonNegative(WeightDecay, "weight_decay");
        Require(Beta1 is >= 0 and < 1, "beta1", Beta1, "a number of 0 or more and below 1");
        Require(Beta2 is >= 0 and < 1, "beta2", Beta2, "a number of 0 or more and below 1");
        Require(!Nesterov || Momentum > 0, "nesterov", "true", "false where momentum is 0");
        return this;
    }

    /// <summary>One step for one parameter.</summary>
    /// <param name="parameter">The parameter's values.</param>
    /// <param name="gradient">The loss's gradient by them.</param>
    /// <param name="moments">The parameter's buffers; null before the first step.</param>
    /// <param name="step">Number of this step, from 1.</param>
    /// <returns>New values and new buffers.</returns>
    public (double[] Values, OptimizerMoments Moments) Apply(
        double[] parameter, double[] gradient, OptimizerMoments? moments, long step)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(gradient);
        return Optimizer == Optimizer.Sgd
            ? DescendByMomentum(parameter, gradient, moments)
            : DescendByAdam(parameter, gradient, moments, step);
    }

    private (double[] Values, OptimizerMoments Moments) DescendByMomentum(
        double[] parameter, double[] gradient, OptimizerMoments? moments)
    {
        var values = new double[parameter.Length];
        var buffer = Momentum == 0 ? [] : new double[parameter.Length];
        // A buffer that was never written holds the first gradient itself, not (1 − momentum) of it.
        var past = moments?.First is { Length: > 0 } first ? first : null;
        for (var i = 0; i < values.Length; i++)
        {
            var direction = gradient[i] + (WeightDecay * parameter[i]);
            if (Momentum != 0)
            {
                buffer[i] = past is null ? direction : (Momentum * past[i]) + direction;
                direction = Nesterov ? direction + (Momentum * buffer[i]) : buffer[i];
            }
            values[i] = parameter[i] - (LearningRate * direction);
        }
        return (values, new OptimizerMoments(buffer, []));
    }

    private (double[] Values, OptimizerMoments Moments) DescendByAdam(
        double[] parameter, double[] gradient, OptimizerMoments? moments, long step)
    {
        var values = new double[parameter.Length];
        var first = new double[parameter.Length];
        var second = new double[parameter.Length];
        var isDecoupled = Optimizer == Optimizer.AdamW;
        var stepSize = LearningRate / (1 - Math.Pow(Beta1, step));
        var secondCorrection = Math.Sqrt(1 - Math.Pow(Beta2, step));
        for (var i = 0; i < values.Length; i++)
        {
            var g = isDecoupled ? gradient[i] : gradient[i] + (WeightDecay * parameter[i]);
            first[i] = (Beta1 * (moments?.First[i] ?? 0)) + ((1 - Beta1) * g);
            second[i] = (Beta2 * (moments?.Second[i] ?? 0)) + ((1 - Beta2) * g * g);
            var decayed = isDecoupled ? parameter[i] * (1 - (LearningRate * WeightDecay)) : parameter[i];
            var denominator = (Math.Sqrt(second[i]) / secondCorrection) + Eps;
            // With eps = 0 and a gradient that was always 0 there is nothing to step along.
            values[i] = first[i] == 0 ? decayed : decayed - (stepSize * first[i] / denominator);
        }
        return (values, new OptimizerMoments(first, second));
    }

    private static void RequireNonNegative(double value, string name) =>
        Require(double.IsFinite(value) && value >= 0, name, value, "a finite number of 0 or more");

    private static void Require(bool holds, string name, object value, string allowed)
    {
        if (!holds)
            throw new LayerException(LayerError.InvalidOption, string.Create(CultureInfo.InvariantCulture, $"update.{name} must be {allowed}, got {value}"));
    }
}
