namespace BnService.Experiments.Networks;

/// <summary>Weights with their gradient and the optimizer's velocity.</summary>
public sealed class Parameter(float[] values)
{
    /// <summary>The weights.</summary>
    public float[] Values { get; } = values;

    /// <summary>The gradient of the last backward pass.</summary>
    public float[] Gradient { get; } = new float[values.Length];

    /// <summary>The running sum of gradients that momentum keeps.</summary>
    public float[] Velocity { get; } = new float[values.Length];

    /// <summary>Weights from a normal distribution around zero.</summary>
    public static Parameter Gaussian(int count, double deviation, Random random)
    {
        var values = new float[count];
        for (var i = 0; i < count; i++) values[i] = (float)(deviation * random.NextGaussian());
        return new Parameter(values);
    }
}
