using BnService.Client;

namespace BnService.Experiments.Networks;

/// <summary>y = x·W + b with W [inputs, outputs]; what follows a normalization layer's own beta needs no bias.</summary>
public sealed class Linear(int inputs, int outputs, double deviation, Random random, bool bias = true) : IFoldable
{
    private Tensor? _input;

    /// <summary>W, [inputs, outputs].</summary>
    public Parameter Weight { get; } = Parameter.Gaussian(inputs * outputs, deviation, random);

    /// <summary>b, [outputs].</summary>
    public Parameter? Bias { get; } = bias ? new Parameter(new float[outputs]) : null;

    /// <inheritdoc/>
    public IEnumerable<Parameter> Parameters => Bias is null ? [Weight] : [Weight, Bias];

    /// <inheritdoc/>
    public ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        _input = x;
        var y = new Tensor(x.Rows, outputs);
        MatrixProduct.Multiply(x.Values, Weight.Values, y.Values, x.Rows, inputs, outputs);
        if (Bias is { Values: var offset })
        {
            for (var row = 0; row < y.Rows; row++)
            {
                var values = y.Row(row);
                for (var i = 0; i < outputs; i++) values[i] += offset[i];
            }
        }
        return new(y);
    }

    /// <inheritdoc/>
    public ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        var x = _input ?? throw new InvalidOperationException("backward without forward");
        MatrixProduct.Multiply(MatrixProduct.Transpose(x.Values, x.Rows, inputs), dy.Values, Weight.Gradient, inputs, x.Rows, outputs);
        if (Bias is { Gradient: var sums })
        {
            Array.Clear(sums);
            for (var row = 0; row < dy.Rows; row++)
            {
                var values = dy.Row(row);
                for (var i = 0; i < outputs; i++) sums[i] += values[i];
            }
        }
        var dx = new Tensor(x.Shape);
        MatrixProduct.Multiply(dy.Values, MatrixProduct.Transpose(Weight.Values, inputs, outputs), dx.Values, x.Rows, outputs, inputs);
        return new(dx);
    }

    /// <inheritdoc/>
    public async Task<ILayer> FoldAsync(LayerSession session, CancellationToken cancellationToken)
    {
        // The service has weights as PyTorch has them: [outputs, inputs].
        var options = new FoldOptions { Bias = Bias is null ? null : [.. Bias.Values.Select(value => (double)value)] };
        var weight = MatrixProduct.Transpose(Weight.Values, inputs, outputs);
        using var folded = await session.FoldAsync(FoldableLayer.Linear, weight, [outputs, inputs], options, cancellationToken);
        var layer = new Linear(inputs, outputs, 0, random);
        MatrixProduct.Transpose(folded.Weight.Span, outputs, inputs).CopyTo(layer.Weight.Values, 0);
        for (var i = 0; i < outputs; i++) layer.Bias!.Values[i] = (float)folded.Bias[i];
        return layer;
    }
}
