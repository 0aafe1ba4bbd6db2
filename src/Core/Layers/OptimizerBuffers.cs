namespace BnService.Core.Layers;

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
/// <param name="Gamma">First and second moment of gamma's gradient; for SGD the momentum buffer and nothing; null where the layer has none.</param>
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
