using System.Text.Json.Serialization;

namespace BnService.Client;

/// <summary>How gradients change gamma and beta; rules and defaults are those of torch.optim. The optimizer's buffers are session state.</summary>
public sealed record ParameterUpdate
{
    private ParameterUpdate(string optimizer, double learningRate) => (Optimizer, LearningRate) = (optimizer, learningRate);

    /// <summary>The rule: sgd, adam or adamw.</summary>
    public string Optimizer { get; }

    /// <summary>Step size, 0 or more.</summary>
    public double LearningRate { get; }

    /// <summary>sgd: weight of the momentum buffer.</summary>
    public double? Momentum { get; private init; }

    /// <summary>sgd: whether the momentum is Nesterov's.</summary>
    public bool? Nesterov { get; private init; }

    /// <summary>adam, adamw: weight of the past in the average of the gradient.</summary>
    [JsonPropertyName("beta1")]
    public double? Beta1 { get; private init; }

    /// <summary>adam, adamw: weight of the past in the average of the squared gradient.</summary>
    [JsonPropertyName("beta2")]
    public double? Beta2 { get; private init; }

    /// <summary>adam, adamw: added to the denominator.</summary>
    public double? Eps { get; private init; }

    /// <summary>L2 penalty (sgd, adam) or decoupled decay (adamw).</summary>
    public double? WeightDecay { get; private init; }

    /// <summary>The largest norm of both gradients together, above 0: longer ones are scaled down to it. Null for any.</summary>
    public double? ClipNorm { get; init; }

    /// <summary>What is another matter for gamma, or for beta; null for nothing.</summary>
    public ParameterRules? Parameters { get; init; }

    /// <summary>Stochastic gradient descent.</summary>
    /// <param name="learningRate">Step size, 0 or more.</param>
    /// <param name="momentum">Weight of the momentum buffer, 0 or more.</param>
    /// <param name="nesterov">Whether the momentum is Nesterov's, which must then be above 0.</param>
    /// <param name="weightDecay">L2 penalty, 0 or more.</param>
    public static ParameterUpdate Sgd(double learningRate, double momentum = 0, bool nesterov = false, double weightDecay = 0) =>
        new("sgd", learningRate) { Momentum = momentum, Nesterov = nesterov, WeightDecay = weightDecay };

    /// <summary>Adam; weight decay is added to the gradient.</summary>
    /// <param name="learningRate">Step size, 0 or more.</param>
    /// <param name="beta1">Weight of the past in the average of the gradient, 0 or more and below 1.</param>
    /// <param name="beta2">Weight of the past in the average of the squared gradient, 0 or more and below 1.</param>
    /// <param name="eps">Added to the denominator, 0 or more.</param>
    /// <param name="weightDecay">L2 penalty, 0 or more.</param>
    public static ParameterUpdate Adam(double learningRate = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weightDecay = 0) =>
        new("adam", learningRate) { Beta1 = beta1, Beta2 = beta2, Eps = eps, WeightDecay = weightDecay };

    /// <summary>AdamW; weight decay shrinks the parameter itself.</summary>
    /// <param name="learningRate">Step size, 0 or more.</param>
    /// <param name="beta1">Weight of the past in the average of the gradient, 0 or more and below 1.</param>
    /// <param name="beta2">Weight of the past in the average of the squared gradient, 0 or more and below 1.</param>
    /// <param name="eps">Added to the denominator, 0 or more.</param>
    /// <param name="weightDecay">Decoupled decay, 0 or more; 0 unless it is said, since gamma and beta are seldom decayed.</param>
    public static ParameterUpdate AdamW(double learningRate = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weightDecay = 0) =>
        new("adamw", learningRate) { Beta1 = beta1, Beta2 = beta2, Eps = eps, WeightDecay = weightDecay };
}
