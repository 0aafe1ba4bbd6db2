using BnService.Client;

namespace BnService.Experiments.Networks;

/// <summary>Stochastic gradient descent with momentum, as the service applies it to gamma and beta: v = momentum·v + g, w = w − rate·v.</summary>
public sealed record Sgd(double LearningRate, double Momentum = 0)
{
    /// <summary>The same rule, for gamma and beta on the service.</summary>
    public ParameterUpdate OnService() => ParameterUpdate.Sgd(LearningRate, Momentum);

    /// <summary>Moves a parameter by its gradient.</summary>
    public void Apply(Parameter parameter)
    {
        var (values, gradient, velocity) = (parameter.Values, parameter.Gradient, parameter.Velocity);
        for (var i = 0; i < values.Length; i++)
        {
            velocity[i] = (float)Momentum * velocity[i] + gradient[i];
            values[i] -= (float)LearningRate * velocity[i];
        }
    }
}
