namespace BnService.Experiments.Networks;

/// <summary>
/// Covariate shift on purpose, in the manner of Santurkar et al. (2018), behind each batch norm layer: at every training step each unit's
/// distribution is given another mean (up to ±0.5) and another scale (1 to 1.25), and each sample noise around them (±0.1).
/// </summary>
public sealed class InternalNoise(Random random) : ILayer
{
    private const double MeanBound = 0.5, ScaleBound = 1.25, SampleBound = 0.1;
    private float[] _scales = [];

    /// <inheritdoc/>
    public ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        if (!training) return new(x);
        var y = new Tensor(x.Shape);
        _scales = new float[x.Values.Length];
        for (var unit = 0; unit < x.Width; unit++)
        {
            var (mean, scale) = (random.NextBetween(-MeanBound, MeanBound), random.NextBetween(1, ScaleBound));
            for (var i = unit; i < x.Values.Length; i += x.Width)
            {
                _scales[i] = (float)(scale + SampleBound * random.NextGaussian());
                y.Values[i] = _scales[i] * x.Values[i] + (float)random.NextBetween(mean - SampleBound, mean + SampleBound);
            }
        }
        return new(y);
    }

    /// <inheritdoc/>
    public ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        var dx = new Tensor(dy.Shape);
        for (var i = 0; i < dx.Values.Length; i++) dx.Values[i] = _scales[i] * dy.Values[i];
        return new(dx);
    }
}
