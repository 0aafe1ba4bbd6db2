using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>
/// What is another matter for one of gamma and beta (a parameter group of <c>torch.optim</c>); what is null is as for both.
/// </summary>
/// <param name="LearningRate">Its step size, ≥ 0.</param>
/// <param name="WeightDecay">Its decay, ≥ 0.</param>
/// <param name="IsFrozen">Whether it, and what the optimizer remembers of it, stays as it is; its gradient is no part of a clipped
/// norm.</param>
public sealed record ParameterRule(double? LearningRate, double? WeightDecay, bool IsFrozen);

/// <summary>How a gradient changes gamma and beta; the rules and defaults are those of <c>torch.optim</c>.</summary>
public sealed record ParameterUpdate
{
    // What torch.nn.utils.clip_grad_norm_ adds to the norm.
    private const double NormEps = 1e-6;

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

    /// <summary>The largest norm of both gradients together, &gt; 0; longer ones are scaled down to it. Null for any.</summary>
    public double? ClipNorm { get; init; }

    /// <summary>What is another matter for gamma.</summary>
    public ParameterRule? Gamma { get; init; }

    /// <summary>What is another matter for beta.</summary>
    public ParameterRule? Beta { get; init; }

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
        Require(ClipNorm is null or (> 0 and < double.PositiveInfinity), "clip_norm", ClipNorm, "a finite number above 0");
        foreach (var (rule, name) in new[] { (Gamma, "gamma"), (Beta, "beta") })
        {
            RequireNonNegative(rule?.LearningRate ?? 0, $"parameters.{name}.learning_rate");
            RequireNonNegative(rule?.WeightDecay ?? 0, $"parameters.{name}.weight_decay");
        }
        return this;
    }

    /// <summary>The gradients of a step, no longer together than <see cref="ClipNorm"/> (<c>torch.nn.utils.clip_grad_norm_</c>).</summary>
    /// <param name="gradients">The gradients.</param>
    /// <param name="hasGamma">Whether there is a gamma, whose gradient counts.</param>
    /// <param name="hasBeta">Whether there is a beta, whose gradient counts.</param>
    public ParameterGradients Clipped(ParameterGradients gradients, bool hasGamma, bool hasBeta)
    {
        ArgumentNullException.ThrowIfNull(gradients);
        if (ClipNorm is not { } most) return gradients;
        var all = (!hasGamma || Gamma?.IsFrozen == true ? [] : gradients.DGamma).Concat(!hasBeta || Beta?.IsFrozen == true ? []
            : gradients.DBeta).ToArray();
        // Relative to the largest, whose square may be beyond double.
        var largest = all.Length == 0 ? 0 : all.Max(Math.Abs);
        var norm = largest == 0 ? 0 : largest * Math.Sqrt(all.Sum(value => value / largest * (value / largest)));
        var factor = Math.Min(1, most / (norm + NormEps));
        return factor == 1 ? gradients
            : new([.. gradients.DGamma.Select(value => factor * value)], [.. gradients.DBeta.Select(value => factor * value)]);
    }

    /// <summary>One step for gamma or beta, by its own rule.</summary>
    /// <param name="rule">What is another matter for it; null for nothing.</param>
    /// <param name="parameter">Its values.</param>
    /// <param name="gradient">The loss's gradient by them.</param>
    /// <param name="moments">Its buffers; null before the first step.</param>
    /// <param name="step">Number of this step of the optimizer, from 1.</param>
    /// <returns>New values and new buffers.</returns>
    public (double[] Values, OptimizerMoments Moments) Apply(
        ParameterRule? rule, double[] parameter, double[] gradient, OptimizerMoments? moments, long step)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        var taken = moments is null ? 0 : moments.Step ?? (step - 1);
        if (rule?.IsFrozen == true)
        {
            var none = Optimizer == Optimizer.Sgd ? [] : ConstantArrays.Of(parameter.Length, 0);
            return (parameter, (moments ?? new OptimizerMoments(none, none)) with { Step = taken });
        }
        var own = rule is null ? this
            : this with { LearningRate = rule.LearningRate ?? LearningRate, WeightDecay = rule.WeightDecay ?? WeightDecay };
        var (values, next) = own.Apply(parameter, gradient, moments, taken + 1);
        return (values, taken + 1 == step ? next : next with { Step = taken + 1 });
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

    private static void Require(bool holds, string name, object? value, string allowed)
    {
        if (!holds)
            throw new LayerException(LayerError.InvalidOption, $"update.{name} must be {allowed}, got {value}");
    }
}

/// <summary>Which optimizer applies a gradient; the names and rules are those of <c>torch.optim</c>.</summary>
public enum Optimizer
{
    /// <summary>Stochastic gradient descent, with momentum and Nesterov momentum.</summary>
    Sgd,

    /// <summary>Adam (Kingma &amp; Ba 2015); weight decay is added to the gradient.</summary>
    Adam,

    /// <summary>AdamW (Loshchilov &amp; Hutter 2019); weight decay shrinks the parameter itself.</summary>
    AdamW,
}

/// <summary>What an optimizer remembers between steps. Immutable; belongs to the layer's state.</summary>
/// <param name="Optimizer">Whose buffers these are. Another optimizer starts with new ones.</param>
/// <param name="Step">Number of updates so far.</param>
/// <param name="Gamma">First and second moment of gamma's gradient; for SGD the momentum buffer and nothing; null where the layer has
/// none.</param>
/// <param name="Beta">The same of beta; null where the layer has none.</param>
public sealed record OptimizerBuffers(Optimizer Optimizer, long Step, OptimizerMoments? Gamma, OptimizerMoments? Beta);

/// <summary>The buffers of one parameter, one value per element.</summary>
/// <param name="First">SGD's momentum buffer, or Adam's average of the gradient.</param>
/// <param name="Second">Adam's average of the squared gradient; empty for SGD.</param>
public sealed record OptimizerMoments(double[] First, double[] Second)
{
    /// <summary>Number of updates of this parameter, where it is another than the optimizer's: some have left it as it was.</summary>
    public long? Step { get; init; }
}
