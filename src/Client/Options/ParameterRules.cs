namespace BnService.Client;

/// <summary>What is another matter for one of gamma and beta in an update.</summary>
public sealed record ParameterRules
{
    /// <summary>For gamma; null for nothing.</summary>
    public ParameterRule? Gamma { get; init; }

    /// <summary>For beta; null for nothing.</summary>
    public ParameterRule? Beta { get; init; }
}

/// <summary>A parameter's own rule; what is null is as the update says it.</summary>
public sealed record ParameterRule
{
    /// <summary>Its step size, 0 or more.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Its decay, 0 or more.</summary>
    public double? WeightDecay { get; init; }

    /// <summary>Whether it stays as it is, with what the optimizer remembers of it.</summary>
    public bool? Frozen { get; init; }
}
