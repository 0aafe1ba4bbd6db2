using BnService.Client;

namespace BnService.Experiments.Networks;

/// <summary>
/// A convolution of 3×3 over [N, height, width, channels], padded with one row of zeros, with a stride of 1 or 2: the
/// patches of the image [N·height·width, 9·channels] times the weight. It has a bias only where batch norm has been folded into it.
/// </summary>
public sealed class Convolution(int inputs, int outputs, int stride, double deviation, Random random) : IFoldable
{
    private const int Side = 3;
    private int[] _shape = [];
    private float[] _patches = [];
    private float[] _bias = new float[outputs];

    /// <summary>The weight, [3, 3, inputs, outputs].</summary>
    public Parameter Weight { get; } = Parameter.Gaussian(Side * Side * inputs * outputs, deviation, random);

    /// <inheritdoc/>
    public IEnumerable<Parameter> Parameters => [Weight];

    /// <inheritdoc/>
    public ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        _shape = x.Shape;
        var y = new Tensor(x.Rows, Reduced(x.Shape[1]), Reduced(x.Shape[2]), outputs);
        var count = y.Values.Length / outputs;
        _patches = new float[count * Side * Side * inputs];
        ForEachTap((pixel, patch) => x.Values.AsSpan(pixel, inputs).CopyTo(_patches.AsSpan(patch)));
        MatrixProduct.Multiply(_patches, Weight.Values, y.Values, count, Side * Side * inputs, outputs);
        for (var i = 0; i < y.Values.Length; i++) y.Values[i] += _bias[i % outputs];
        return new(y);
    }

    /// <inheritdoc/>
    public ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        var (count, width) = (dy.Values.Length / outputs, Side * Side * inputs);
        MatrixProduct.Multiply(MatrixProduct.Transpose(_patches, count, width), dy.Values, Weight.Gradient, width, count, outputs);
        var dPatches = new float[_patches.Length];
        MatrixProduct.Multiply(dy.Values, MatrixProduct.Transpose(Weight.Values, width, outputs), dPatches, count, outputs, width);
        var dx = new Tensor(_shape);
        ForEachTap((pixel, patch) =>
        {
            for (var channel = 0; channel < inputs; channel++) dx.Values[pixel + channel] += dPatches[patch + channel];
        });
        return new(dx);
    }

    /// <inheritdoc/>
    public async Task<ILayer> FoldAsync(LayerSession session, CancellationToken cancellationToken)
    {
        // The service has weights as PyTorch has them: [outputs, inputs, 3, 3], where here a tap's inputs and outputs lie together.
        var (taps, weight) = (Side * Side, new float[Weight.Values.Length]);
        for (var i = 0; i < weight.Length; i++) weight[Place(i)] = Weight.Values[i];
        using var folded = await session.FoldAsync(FoldableLayer.Conv, weight, [outputs, inputs, Side, Side], cancellationToken: cancellationToken);
        var layer = new Convolution(inputs, outputs, stride, 0, random) { _bias = [.. folded.Bias.Select(value => (float)value)] };
        for (var i = 0; i < weight.Length; i++) layer.Weight.Values[i] = folded.Weight.Span[Place(i)];
        return layer;

        int Place(int i) => (i % outputs * inputs + i / outputs % inputs) * taps + i / (outputs * inputs);
    }

    /// <summary>Calls with the offset of each pixel that lies under a tap of the kernel, and the offset of its place among the patches.</summary>
    private void ForEachTap(Action<int, int> visit)
    {
        var (samples, height, width) = (_shape[0], _shape[1], _shape[2]);
        var patch = 0;
        for (var sample = 0; sample < samples; sample++)
            for (var top = 0; top < height; top += stride)
                for (var left = 0; left < width; left += stride)
                    for (var tap = 0; tap < Side * Side; tap++, patch += inputs)
                    {
                        var (y, x) = (top + tap / Side - 1, left + tap % Side - 1);
                        if (y >= 0 && y < height && x >= 0 && x < width) visit(((sample * height + y) * width + x) * inputs, patch);
                    }
    }

    private int Reduced(int length) => (length + stride - 1) / stride;
}
