namespace BnService.Experiments.Networks;

/// <summary>An activation function, element by element, whose derivative can be told from its value.</summary>
public sealed class Nonlinearity(Func<float, float> value, Func<float, float> derivativeOfValue) : ILayer
{
    private Tensor? _output;

    /// <summary>1 / (1 + e^−x).</summary>
    public static Nonlinearity Sigmoid() => new(x => 1 / (1 + MathF.Exp(-x)), y => y * (1 - y));

    /// <summary>max(0, x).</summary>
    public static Nonlinearity Relu() => new(x => MathF.Max(0, x), y => y > 0 ? 1 : 0);

    /// <inheritdoc/>
    public ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        _output = new Tensor(x.Shape, Array.ConvertAll(x.Values, element => value(element)));
        return new(_output);
    }

    /// <inheritdoc/>
    public ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        var y = _output ?? throw new InvalidOperationException("backward without forward");
        var dx = new Tensor(dy.Shape);
        for (var i = 0; i < dx.Values.Length; i++) dx.Values[i] = dy.Values[i] * derivativeOfValue(y.Values[i]);
        return new(dx);
    }
}
